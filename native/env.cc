#include "env.h"

#include "devices.h"

#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace rn {

namespace {
thread_local EnvData* current = nullptr;
}

EnvData* Current() noexcept { return current; }
void SetCurrent(EnvData* data) noexcept { current = data; }

void Exchange::setInteger(size_t i, int64_t value) {
  constexpr int64_t kSafe = (int64_t{1} << 53) - 1;
  if (value >= -kSafe && value <= kSafe) {
    set(i, Tag::kNumber, static_cast<double>(value));
  } else {
    tags[i] = static_cast<uint8_t>(Tag::kBigInt);
    reinterpret_cast<int64_t*>(values)[i] = value;
  }
}

double PutTensor(napi_env, at::Tensor tensor) { return Current()->slots.put(std::move(tensor)); }

const at::Tensor& GetTensor(napi_env env, napi_value id) {
  double value = 0;
  if (napi_get_value_double(env, id, &value) != napi_ok) throw TypeError("a Tensor is expected");
  return Current()->slots.get(value);
}

void EnvData::retire(double id) {
  std::lock_guard lock(retiredMutex_);
  retiredIds_.push_back(id);
  hasRetired_.store(true, std::memory_order_release);
}

void EnvData::retire(napi_ref ref) {
  if (ref == nullptr || closed.load()) return;
  std::lock_guard lock(retiredMutex_);
  retiredRefs_.push_back(ref);
  hasRetired_.store(true, std::memory_order_release);
}

void EnvData::drain() {
  while (hasRetired_.load(std::memory_order_acquire)) {
    std::vector<double> ids;
    std::vector<napi_ref> refs;
    {
      std::lock_guard lock(retiredMutex_);
      ids.swap(retiredIds_);
      refs.swap(retiredRefs_);
      hasRetired_.store(false, std::memory_order_release);
    }
    for (double id : ids) slots.free(id);
    for (napi_ref ref : refs) napi_delete_reference(env, ref);
  }
}

void EnvData::reportMemory(const at::Tensor& tensor) {
  constexpr int64_t kQuantum = 8 << 20;
  constexpr int kCudaEvery = 16;
  // Asking the CUDA allocator takes about a microsecond: large tensors are counted until then.
  if (tensor.is_cuda() && tensor.has_storage()) {
    cudaNews_ += static_cast<int64_t>(tensor.storage().nbytes());
  }
  if (++reports_ % kCudaEvery == 0 || cudaNews_ >= kQuantum) {
    cudaBytes_ = LiveCudaBytes();
    cudaNews_ = 0;
  }
  const int64_t live = LiveCpuBytes() + cudaBytes_;
  const int64_t change = live - reported_;
  if (change < kQuantum && change > -kQuantum) return;
  reported_ = live;
  int64_t total = 0;
  napi_adjust_external_memory(env, change, &total);  // may collect garbage, hence finalizers, hence:
  drain();
}

bool EnvData::collectGarbage() {
  // Told of more than it allows, V8 collects before it returns. Where it was collecting bit by bit already,
  // that ends, and what has become garbage since it began is found by the second round only.
  constexpr int64_t kTooMuch = int64_t{1} << 46;
  const size_t before = slots.size();
  for (int round = 0; round < 2; ++round) {
    int64_t total = 0;
    napi_adjust_external_memory(env, kTooMuch, &total);
    napi_adjust_external_memory(env, -kTooMuch, &total);
    drain();
  }
  return slots.size() < before;
}

void EnvData::throwPending(napi_value exception) {
  if (pendingException != nullptr) napi_delete_reference(env, pendingException);
  pendingException = nullptr;
  // A primitive cannot be referenced before Node 22's experimental API: box whatever is no object.
  napi_valuetype type;
  napi_typeof(env, exception, &type);
  if (type != napi_object && type != napi_function) {
    napi_value message;
    napi_value error;
    napi_coerce_to_string(env, exception, &message);
    napi_create_error(env, nullptr, message, &error);
    exception = error;
  }
  napi_create_reference(env, exception, 1, &pendingException);
}

void EnvData::rethrow(napi_value exception) {
  throwPending(exception);
  throw JsException();
}

napi_value CallFunction(EnvData& data, napi_value function, size_t argc, const napi_value* argv) {
  napi_value receiver;
  napi_value result = nullptr;
  napi_get_undefined(data.env, &receiver);
  const napi_status status = napi_call_function(data.env, receiver, function, argc, argv, &result);
  if (status == napi_ok) return result;
  bool pending = false;
  napi_is_exception_pending(data.env, &pending);
  if (!pending)
    throw std::runtime_error("a JavaScript callback could not be called: the environment is closing");
  napi_value exception;
  napi_get_and_clear_last_exception(data.env, &exception);
  data.rethrow(exception);
}

void ThrowToJs(napi_env env, const std::string& context, const std::string& schema) noexcept {
  const std::string suffix = schema.empty() ? "" : "\n  " + schema;
  const std::string prefix = context.empty() ? "" : context + ": ";
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (pending) return;
  try {
    throw;
  } catch (const JsException&) {
    EnvData* data = Current();
    napi_value exception = nullptr;
    if (data != nullptr && data->pendingException != nullptr) {
      napi_get_reference_value(env, data->pendingException, &exception);
      napi_delete_reference(env, data->pendingException);
      data->pendingException = nullptr;
    }
    if (exception != nullptr) {
      napi_throw(env, exception);
    } else {
      napi_throw_error(env, nullptr, (prefix + "a JavaScript callback threw").c_str());
    }
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const TypeError& error) {
    napi_throw_type_error(env, nullptr, (prefix + error.what()).c_str());
  } catch (const c10::AcceleratorError& error) {
    if (IsOutOfMemory(error) && Current() != nullptr) {
      napi_throw_error(env, "ERR_OUT_OF_MEMORY",
                       (prefix + error.what_without_backtrace() + WhoHoldsMemory(*Current())).c_str());
      return;
    }
    // Devices work behind: who meets an error need not be who made it.
    const std::string met = context.empty() ? "" : "met by " + context + ", which need not be its cause: ";
    napi_throw_error(env, "ERR_CUDA", (met + error.what_without_backtrace()).c_str());
  } catch (const c10::Error& error) {
    const bool full = IsOutOfMemory(error) && Current() != nullptr;
    const std::string held = full ? WhoHoldsMemory(*Current()) : "";
    if (full) {
      napi_throw_error(env, "ERR_OUT_OF_MEMORY", (prefix + error.what_without_backtrace() + held).c_str());
      return;
    }
    napi_throw_error(env, nullptr, (prefix + error.what_without_backtrace() + suffix).c_str());
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, "ERR_OUT_OF_MEMORY", (prefix + "out of memory").c_str());
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, (prefix + error.what() + suffix).c_str());
  } catch (...) {
    napi_throw_error(env, nullptr, (prefix + "unknown native error").c_str());
  }
}

JsCallback::JsCallback(EnvData* data, napi_value function) : data_(data), ref_(nullptr) {
  napi_valuetype type;
  Check(napi_typeof(data->env, function, &type));
  if (type != napi_function) throw TypeError("a function is expected");
  Check(napi_create_reference(data->env, function, 1, &ref_));
}

JsCallback::~JsCallback() { data_->retire(ref_); }

void JsCallback::call(const std::function<void(EnvData&, napi_value)>& body) const {
  if (data_->closed.load()) throw std::runtime_error("the JavaScript environment has closed");
  data_->jsThread->run([&] {
    napi_handle_scope scope;
    Check(napi_open_handle_scope(data_->env, &scope));
    struct Close {
      napi_env env;
      napi_handle_scope scope;
      ~Close() { napi_close_handle_scope(env, scope); }
    } close{data_->env, scope};
    napi_value function;
    Check(napi_get_reference_value(data_->env, ref_, &function));
    body(*data_, function);
  });
}

// Something that one thread has another do, as if it did it itself: with its grad mode and the like, its
// device and streams.
struct JsThread::Task {
  explicit Task(const std::function<void()>& body) : call(body) {}

  const std::function<void()>& call;
  const std::thread::id from = std::this_thread::get_id();
  const at::ThreadLocalState state;
  const CudaThread cuda = CudaThread::OfCaller();
  std::exception_ptr error;
  bool done = false;
  Task* nested = nullptr;  // what JavaScript has the waiting thread do meanwhile

  void perform() noexcept {
    try {
      const at::ThreadLocalStateGuard guard(state);
      const CudaThreadGuard streams(cuda);
      call();
    } catch (...) {
      error = std::current_exception();
    }
  }
};

// A native thread that waits for work.
class JsThread::Worker {
 public:
  Worker() : thread_([this] { loop(); }) {}
  ~Worker() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }
  std::thread::id id() const { return thread_.get_id(); }
  void start(std::function<void()> work) {
    {
      std::lock_guard lock(mutex_);
      work_ = std::move(work);
    }
    wake_.notify_all();
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stop_ || work_; });
      if (stop_) return;
      const std::function<void()> now = std::exchange(work_, nullptr);
      lock.unlock();
      now();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> work_;
  bool stop_ = false;
  std::thread thread_;  // last: it uses the others
};

JsThread::JsThread(EnvData* data) : data_(data) {}
JsThread::~JsThread() = default;

void JsThread::close() {
  if (serving_ == 0) worker_.reset();
}

void JsThread::run(const std::function<void()>& call) {
  if (std::this_thread::get_id() == data_->thread) {
    call();
    return;
  }
  Task task(call);
  std::unique_lock lock(mutex_);
  if (serving_ == 0)
    throw std::runtime_error("a JavaScript hook was reached while JavaScript was not waiting for it");
  queue_.push_back(&task);
  wake_.notify_all();
  for (;;) {
    wake_.wait(lock, [&] { return task.done || task.nested != nullptr; });
    if (task.done) break;
    Task* nested = std::exchange(task.nested, nullptr);
    lock.unlock();
    nested->perform();
    lock.lock();
    nested->done = true;
    wake_.notify_all();
  }
  lock.unlock();
  if (task.error) std::rethrow_exception(task.error);
}

// Takes the next call to serve while the thread that waits for `host` works. The one of our own thread, which
// drives the outermost backward, waits until the work is its own again: were it served from inside the work
// of a device's thread, backward in it could need that thread when it is done and asleep. Not covered: one
// graph over two GPUs, with hooks on both whose own backward is over both.
JsThread::Task* JsThread::next(const Task* host) {
  const auto found = std::find_if(queue_.begin(), queue_.end(), [&](const Task* task) {
    return host == nullptr || task->from == host->from || task->from != worker_->id();
  });
  if (found == queue_.end()) return nullptr;
  Task* task = *found;
  queue_.erase(found);
  return task;
}

void JsThread::runElsewhere(const std::function<void()>& work) {
  Task task(work);
  Task* const host = served_;
  std::unique_lock lock(mutex_);
  ++serving_;
  if (host != nullptr) {
    host->nested = &task;
    wake_.notify_all();
  } else {
    if (worker_ == nullptr) worker_ = std::make_unique<Worker>();
    worker_->start([this, &task] {
      at::init_num_threads();  // OpenMP counts by thread: follow what setNumThreads said on the other
      task.perform();
      std::lock_guard guard(mutex_);
      task.done = true;
      wake_.notify_all();
    });
  }
  Task* call = nullptr;
  for (;;) {
    wake_.wait(lock, [&] { return task.done || (call = next(host)) != nullptr; });
    if (call == nullptr) break;
    lock.unlock();
    served_ = call;
    call->perform();
    served_ = host;
    lock.lock();
    call->done = true;
    wake_.notify_all();
    call = nullptr;
  }
  --serving_;
  lock.unlock();
  if (task.error) std::rethrow_exception(task.error);
}

}  // namespace rn
