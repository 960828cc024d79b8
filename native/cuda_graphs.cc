// CUDA graphs: work that is recorded once and launched as a whole. Part of the object `cuda`.
#include "devices.h"

#ifdef RN_HAVE_CUDA

#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

namespace rn {

namespace {

// Whether a graph cleans up after a recording that failed, as 2.14's does. An older one leaves the allocators
// and the generator as if it were still recording, and the allocators with a pointer to the graph.
template <class G>
struct Peek : G {
  static consteval bool cleansUp() {
    return requires(Peek & graph) { graph.capturing_to_pool_; };
  }
};

// What accumulates a parameter's gradient remembers the stream of the step that made it, and lives as long as
// that step's autograd graph, if only until the garbage collector finds its loss. From 2.13 on libtorch can
// be told to use the stream of the recording instead of failing; without a recording this changes nothing.
template <class Context>
void UseRecordingStream(Context& context) {
  if constexpr (requires { context.setOverrideStaleCaptureStream(true); }) {
    context.setOverrideStaleCaptureStream(true);
  }
}

template <class Body>
void Try(Body&& body) noexcept {
  try {
    body();
  } catch (const std::exception&) {
    // It was not there to be undone.
  }
}

// Not every libtorch has pools of page-locked memory for recordings.
template <class Host, class Pool>
void ClosePool(Host* host, const Pool& pool) noexcept {
  if constexpr (requires { host->end_allocate_to_pool(pool); }) {
    Try([&] { host->end_allocate_to_pool(pool); });
    Try([&] { host->release_pool(pool); });
  }
}

class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() { reset(); }

  bool recording() const { return recording_; }

  void begin() {
    device_ = c10::cuda::current_device();
    pool_ = at::cuda::graph_pool_handle();
    at::cuda::detail::getDefaultCUDAGenerator(device_);  // cannot be made in a recording
    UseRecordingStream(at::globalContext());
    unfinished_ = true;
    undoOnError([&] { graph_->capture_begin(pool_); });
    recording_ = true;
    Current()->slots.detain(true);
  }
  void end() {
    undoOnError([&] { graph_->capture_end(); });
    unfinished_ = false;
    stopRecording();
  }
  void replay() {
    if (graph_ == nullptr) throw TypeError("this Graph has nothing recorded");
    const c10::cuda::CUDAGuard guard(device_);
    graph_->replay();
  }

 private:
  // After an error everything is as if nothing had been recorded.
  template <class Body>
  void undoOnError(Body&& body) {
    try {
      if (graph_ == nullptr) throw TypeError("this Graph has failed");
      body();
    } catch (...) {
      abandon();
      throw;
    }
  }

  void abandon() noexcept {
    if (unfinished_ && !Peek<at::cuda::CUDAGraph>::cleansUp()) {
      (void)graph_.release();
      Try([&] { c10::cuda::CUDACachingAllocator::endAllocateToPool(device_, pool_); });
      Try([&] { c10::cuda::CUDACachingAllocator::releasePool(device_, pool_); });
      ClosePool(at::getHostAllocator(at::kCUDA), pool_);
      Try([&] {
        at::Generator usual = at::cuda::detail::getDefaultCUDAGenerator(device_);
        at::Generator fresh = at::cuda::detail::createCUDAGenerator(device_);
        std::lock_guard lock(usual.mutex());
        fresh.set_state(usual.get_state());
        usual.graphsafe_set_state(fresh.graphsafe_get_state());
      });
    }
    unfinished_ = false;
    reset();
    stopRecording();
  }

  void stopRecording() noexcept {
    if (!recording_) return;
    recording_ = false;
    Current()->slots.detain(false);
  }

  // A graph's destructor may throw, which would end the process: when the device has failed, it is left
  // alone.
  void reset() noexcept {
    if (graph_ == nullptr) return;
    try {
      graph_->reset();
      graph_.reset();
    } catch (const std::exception&) {
      (void)graph_.release();
    }
  }

  std::unique_ptr<at::cuda::CUDAGraph> graph_ = std::make_unique<at::cuda::CUDAGraph>();
  decltype(at::cuda::graph_pool_handle()) pool_{};
  c10::DeviceIndex device_ = 0;
  bool unfinished_ = false;  // begun, whether or not that worked, and not ended
  bool recording_ = false;
};

Table<Graph>& Graphs() {
  thread_local auto* table = new Table<Graph>;
  return *table;
}

Napi::Value NewGraph(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(), Graphs().add(std::make_unique<Graph>()));
  });
}

void FreeGraph(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    auto& graphs = Graphs().items;
    const auto found = graphs.find(info[0].As<Napi::Number>().Int32Value());
    if (found == graphs.end()) return;
    if (found->second->recording()) throw TypeError("a Graph cannot be released while it records");
    graphs.erase(found);
  });
}

void GraphBegin(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Graphs().get(info[0], "Graph").begin(); });
}
void GraphEnd(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Graphs().get(info[0], "Graph").end(); });
}
void GraphReplay(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Graphs().get(info[0], "Graph").replay(); });
}

}  // namespace

void AddCudaGraphs(Napi::Env env, Napi::Object cuda) {
  const auto add = [&](const char* name, auto function) {
    cuda.Set(name, Napi::Function::New(env, function, name));
  };
  add("newGraph", NewGraph);
  add("freeGraph", FreeGraph);
  add("graphBegin", GraphBegin);
  add("graphEnd", GraphEnd);
  add("graphReplay", GraphReplay);
}

}  // namespace rn

#endif
