// What every other file of the binding builds on: the per-environment state, tensor slots, scopes,
// conversion of C++ exceptions, and the way back to the JavaScript thread.
#pragma once

#include <napi.h>

#include <ATen/core/Tensor.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace rn {

// Tags of the values that cross in the exchange buffer. src/torch/exchange.ts holds the same list.
enum class Tag : uint8_t {
  kUndefined = 0,
  kNull = 1,
  kTensor = 2,
  kNumber = 3,
  kBool = 4,
  kNumberList = 5,
  kTensorList = 6,
  kString = 7,
  kBigInt = 8,
  kDType = 9,
  kBoolList = 10,
  kKeyword = 11,
  kGenerator = 12,
  kEmptyList = 13,
  kSame = 14,    // result only: the tensor that was passed at flat position `value`
  kDevice = 15,  // result only
};

// An error that JavaScript sees as a TypeError: the caller's mistake, found before libtorch was asked.
struct TypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A JavaScript exception on its way through C++ frames. The value itself waits in EnvData.
struct JsException : std::exception {
  const char* what() const noexcept override { return "a JavaScript callback threw"; }
};

// Memory shared with JavaScript through which operator calls pass: no N-API conversion per argument.
// Layout: header (int32[16]), tags (uint8[kCapacity]), values (float64 or int64 [kCapacity]).
struct Exchange {
  static constexpr size_t kCapacity = 1 << 16;
  static constexpr size_t kHeaderBytes = 64;
  static constexpr size_t kBytes = kHeaderBytes + kCapacity + kCapacity * 8;

  int32_t* header = nullptr;
  uint8_t* tags = nullptr;
  double* values = nullptr;

  Tag tag(size_t i) const { return static_cast<Tag>(tags[i]); }
  int64_t integer(size_t i) const { return reinterpret_cast<const int64_t*>(values)[i]; }
  void set(size_t i, Tag tag, double value) {
    tags[i] = static_cast<uint8_t>(tag);
    values[i] = value;
  }
  void setInteger(size_t i, int64_t value);
};

// Tensors that JavaScript holds. JavaScript knows a tensor by a number, generation * 2^kIndexBits + index;
// the generation changes whenever a slot is freed, so that a stale number is always caught.
class Slots {
 public:
  static constexpr int kIndexBits = 24;
  static constexpr uint32_t kMaxGeneration = (1u << 28) - 1;

  double put(at::Tensor tensor);
  // Throws TypeError when the id is stale, foreign or no id at all.
  const at::Tensor& get(double id) const;
  bool alive(double id) const noexcept { return find(id) != nullptr; }
  // Freeing a stale id does nothing.
  void free(double id) noexcept;
  void clear() noexcept;

  // Scopes own what is created while they are open. `mark` is what `openScope` returned.
  size_t openScope();
  void closeScope(size_t mark, const double* kept, size_t keptCount);
  // Takes a tensor out of whatever scope owns it.
  void keep(double id);
  size_t depth() const { return depth_; }
  size_t size() const { return live_; }
  void ids(std::vector<double>* out) const;

  // From here on (until `false`) memory of CPU tensors outlives their release. While a CUDA graph is
  // recorded, page-locked memory must not be freed: its allocator would mark the streams that read it, and a
  // mark inside a recording can never be asked whether it has been reached.
  void detain(bool detaining);
  bool detaining() const { return detaining_; }

 private:
  enum class Owner : uint8_t { kNone, kScope, kKept };
  struct Slot {
    at::Tensor tensor;
    uint32_t generation = 1;
    Owner owner = Owner::kNone;
    bool returned = false;
  };
  static constexpr size_t kBlockBits = 12;
  static constexpr size_t kBlock = 1 << kBlockBits;

  Slot* find(double id) const noexcept;
  Slot& at(uint32_t index) const { return blocks_[index >> kBlockBits][index & (kBlock - 1)]; }

  std::vector<std::unique_ptr<Slot[]>> blocks_;
  std::vector<uint32_t> free_;
  std::vector<double> scoped_;
  std::vector<at::Tensor> detained_;
  bool detaining_ = false;
  uint32_t next_ = 0;
  size_t depth_ = 0;
  size_t live_ = 0;
};

class JsThread;

// One per N-API environment (main thread or worker_thread). It is never deleted: finalizers and autograd
// nodes may outlive the environment; `closed` tells them so.
struct EnvData {
  napi_env env = nullptr;
  std::thread::id thread;
  std::atomic<bool> closed{false};
  Exchange exchange;
  Slots slots;
  std::vector<std::string> strings;  // interned by JavaScript, by index
  std::unordered_map<int32_t, at::Generator> generators;
  int32_t nextGenerator = 1;
  std::unique_ptr<JsThread> jsThread;

  // Tensors and references given up by finalizers or by other threads wait here until the JavaScript
  // thread passes by: destructors must not run inside the garbage collector.
  void retire(double id);
  void retire(napi_ref ref);
  void drain();

  // Tells V8 how much memory the garbage collector could free (bytes live in libtorch's allocators now), when
  // it becomes the owner of `tensor`.
  void reportMemory(const at::Tensor& tensor);
  // Has V8 collect garbage at once; whether tensors were released.
  bool collectGarbage();

  void throwPending(napi_value exception);
  [[noreturn]] void rethrow(napi_value exception);
  napi_ref pendingException = nullptr;

 private:
  std::atomic<bool> hasRetired_{false};
  std::mutex retiredMutex_;
  std::vector<double> retiredIds_;
  std::vector<napi_ref> retiredRefs_;
  int64_t reported_ = 0;
  int64_t cudaBytes_ = 0;
  int64_t cudaNews_ = 0;
  unsigned reports_ = 0;
};

// The environment of the calling JavaScript thread; null on any other thread.
EnvData* Current() noexcept;
inline EnvData* Env(napi_env) noexcept { return Current(); }

// A tensor id to hand to JavaScript, which wraps it.
double PutTensor(napi_env env, at::Tensor tensor);
// The tensor behind an id that came from JavaScript; throws TypeError when it is not alive.
const at::Tensor& GetTensor(napi_env env, napi_value id);

// A JavaScript function that C++ objects of any lifetime and thread may hold.
class JsCallback {
 public:
  JsCallback(EnvData* data, napi_value function);
  ~JsCallback();
  JsCallback(const JsCallback&) = delete;
  JsCallback& operator=(const JsCallback&) = delete;

  // Runs `body` on the JavaScript thread, inside a handle scope, with the function at hand. Waits for it.
  // A JavaScript exception comes out as JsException.
  void call(const std::function<void(EnvData&, napi_value function)>& body) const;
  // Calls the function with tensors (undefined ones become null); returns the value it returns.
  EnvData& data() const { return *data_; }

 private:
  EnvData* data_;
  napi_ref ref_;
};

// Brings calls from autograd's threads to the JavaScript thread while that thread waits for backward.
class JsThread {
 public:
  explicit JsThread(EnvData* data);
  ~JsThread();
  // JavaScript thread: has `work` done by another thread and serves calls until it is done. Within a call
  // that is the thread which waits for it (libtorch's engine knows backward inside backward by the thread,
  // and threads of its own must not sleep while they are needed), else one of ours.
  void runElsewhere(const std::function<void()>& work);
  // Any thread: runs `call` on the JavaScript thread and waits; throws when nobody is serving.
  void run(const std::function<void()>& call);
  // JavaScript thread, when the environment closes: ends our thread, unless a hook is what closes it.
  void close();

 private:
  struct Task;
  class Worker;
  Task* next(const Task* host);
  EnvData* data_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task*> queue_;
  size_t serving_ = 0;
  Task* served_ = nullptr;  // the innermost; JavaScript thread only
  std::unique_ptr<Worker> worker_;
};

// Calls a JavaScript function; a JavaScript exception is stored and thrown on as JsException.
napi_value CallFunction(EnvData& data, napi_value function, size_t argc, const napi_value* argv);

// Turns the exception in flight into a pending JavaScript exception. `context` names the operation; `schema`
// is added to libtorch's own errors.
void ThrowToJs(napi_env env, const std::string& context = "", const std::string& schema = "") noexcept;

// Runs a callback body; no C++ exception leaves it.
template <class Body>
auto Guarded(napi_env env, Body&& body) noexcept -> decltype(body()) {
  try {
    return body();
  } catch (...) {
    ThrowToJs(env);
    return decltype(body())();
  }
}

// Live and peak bytes in libtorch's CPU allocator, counted by an allocator of ours in front of it.
void InstallCountingAllocator();
int64_t LiveCpuBytes() noexcept;
int64_t PeakCpuBytes() noexcept;
void ResetPeakCpuBytes() noexcept;

inline void Check(napi_status status) {
  if (status != napi_ok) throw std::runtime_error("N-API call failed with status " + std::to_string(status));
}

}  // namespace rn
