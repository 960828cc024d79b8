// Streams, each a thread with a queue; events; and recordings (graphs).
#include "device.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

namespace sim {

namespace {

using Work = std::function<void()>;

std::atomic<bool> ending{false};
void endWithProcess();

struct Stream;
// How far each stream of a recording had come: what a mark knows, and a stream that waits for it learns.
using Clock = std::map<Stream*, long>;

struct Recording {
  struct Undo {
    void* where;
    std::vector<char> bytes;
  };

  unsigned long long id;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  Stream* origin;
  std::set<Stream*> streams;
  std::vector<Work> nodes;
  std::vector<Undo> undo;
  bool spoilt = false;
};

struct Stream {
  explicit Stream(int device) : device(device) {}

  void push(Work work) {
    std::lock_guard guard(lock);
    if (!started) {
      endWithProcess();
      std::thread([this] { serve(); }).detach();
    }
    started = true;
    queue.push_back(std::move(work));
    change.notify_all();
  }
  bool idle() {
    std::lock_guard guard(lock);
    return queue.empty() && !busy;
  }
  void drain() {
    std::unique_lock guard(lock);
    change.wait(guard, [&] { return (queue.empty() && !busy) || ending; });
  }
  // Begins nothing more. What is under way may wait for others for ever.
  void end() {
    std::unique_lock guard(lock);
    change.notify_all();
    change.wait_for(guard, std::chrono::seconds(1), [&] { return !busy; });
  }

  const int device;
  std::shared_ptr<Recording> recording;
  Clock clock;

 private:
  void serve() {
    use(device);
    std::unique_lock guard(lock);
    for (;;) {
      change.wait(guard, [&] { return !queue.empty() && !ending; });
      Work work = std::move(queue.front());
      queue.pop_front();
      busy = true;
      guard.unlock();
      try {
        work();
      } catch (const std::exception& error) {
        say("%s", error.what());
        fail(cudaErrorAssert);
      }
      work = nullptr;
      guard.lock();
      busy = false;
      change.notify_all();
    }
  }

  std::mutex lock;
  std::condition_variable change;
  std::deque<Work> queue;
  bool busy = false, started = false;
};

// A place in a stream.
struct Mark {
  std::mutex lock;
  std::condition_variable change;
  bool reached = false;
  std::chrono::steady_clock::time_point time;
  std::shared_ptr<Recording> recording;
  Clock clock;

  void reach() {
    std::lock_guard guard(lock);
    reached = true;
    time = std::chrono::steady_clock::now();
    change.notify_all();
  }
  void wait() {
    std::unique_lock guard(lock);
    change.wait(guard, [&] { return reached; });
  }
};

struct Event {
  std::shared_ptr<Mark> mark;
  bool timing;
};

struct Graph {
  std::vector<Work> nodes;
};

// Of streams, events and recordings; never held while work is done. Nothing of it ends before the process.
std::mutex lock;
std::set<Stream*>& streams() {
  static auto* all = new std::set<Stream*>;
  return *all;
}
std::set<std::shared_ptr<Recording>>& recordings() {
  static auto* all = new std::set<std::shared_ptr<Recording>>;
  return *all;
}
// Streams stop before what their work needs is destroyed: exit undoes in the opposite order.
void endWithProcess() {
  static const int once = atexit([] {
    ending = true;
    for (Stream* stream : streams()) stream->end();
  });
  (void)once;
}
thread_local cudaStreamCaptureMode threadMode = cudaStreamCaptureModeGlobal;

Stream& streamOf(cudaStream_t handle) {
  static auto* defaults = new std::map<int, Stream*>;
  std::lock_guard guard(lock);
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread) {
    Stream*& one = (*defaults)[currentDevice()];
    if (one == nullptr) streams().insert(one = new Stream(currentDevice()));
    return *one;
  }
  auto* one = reinterpret_cast<Stream*>(handle);
  if (streams().count(one) == 0) {
    say("there is no such stream");
    abort();
  }
  return *one;
}
Event& eventOf(cudaEvent_t handle) { return *reinterpret_cast<Event*>(handle); }

void spoil(Recording& recording, const char* why) {
  recording.spoilt = true;
  say("a recording is spoilt: %s", why);
  if (getenv("SIM_ABORT")) abort();
}

void note(Stream& stream, const Work& work, const std::vector<Range>& writes) {
  std::lock_guard guard(lock);
  ++stream.clock[&stream];
  Recording& into = *stream.recording;
  for (const Range& range : writes) {
    const char* from = static_cast<const char*>(real(range.address));
    into.undo.push_back({real(range.address), {from, from + range.size}});
  }
  into.nodes.push_back(work);
}

cudaError_t make(cudaStream_t* handle) {
  activate();
  auto* stream = new Stream(currentDevice());
  std::lock_guard guard(lock);
  streams().insert(stream);
  *handle = reinterpret_cast<cudaStream_t>(stream);
  return done(cudaSuccess);
}

}  // namespace

cudaError_t run(cudaStream_t handle, const Work& work, const std::vector<Range>& writes) {
  if (failed()) return done(cudaSuccess);
  Stream& stream = streamOf(handle);
  if (stream.recording) {
    note(stream, work, writes);
  } else {
    stream.drain();
  }
  work();
  return cudaSuccess;
}
cudaError_t enqueue(cudaStream_t handle, Work work, const std::vector<Range>& writes) {
  Stream& stream = streamOf(handle);
  if (failed() || stream.recording) return run(handle, work, writes);
  stream.push(std::move(work));
  return cudaSuccess;
}
bool recording(cudaStream_t handle) { return streamOf(handle).recording != nullptr; }

cudaError_t forbidden(const char* call) {
  if (threadMode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  std::lock_guard guard(lock);
  cudaError_t error = cudaSuccess;
  for (const auto& one : recordings()) {
    const bool mine = one->thread == std::this_thread::get_id() && one->mode != cudaStreamCaptureModeRelaxed;
    if (mine || (one->mode == cudaStreamCaptureModeGlobal && threadMode == cudaStreamCaptureModeGlobal)) {
      spoil(*one, call);
      error = cudaErrorStreamCaptureUnsupported;
    }
  }
  return error;
}

void drain(cudaStream_t stream) { streamOf(stream).drain(); }
void drainDevice(int device) {
  std::vector<Stream*> its;
  {
    std::lock_guard guard(lock);
    std::copy_if(streams().begin(), streams().end(), std::back_inserter(its),
                 [&](const Stream* stream) { return stream->device == device; });
  }
  for (Stream* stream : its) stream->drain();
}

}  // namespace sim

using namespace sim;

// --- streams ---

SIM_API cudaError_t cudaStreamCreate(cudaStream_t* stream) { return make(stream); }
SIM_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return make(stream); }
SIM_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return make(stream); }
SIM_API cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  streamOf(stream).drain();
  std::lock_guard guard(lock);
  streams().erase(reinterpret_cast<Stream*>(stream));
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const auto error = forbidden("cudaStreamSynchronize")) return done(error);
  drain(stream);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const auto error = forbidden("cudaStreamQuery")) return done(error);
  return done(streamOf(stream).idle() ? cudaSuccess : cudaErrorNotReady);
}
SIM_API cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t callback, void* data,
                                          unsigned) {
  return done(enqueue(stream, [=] { callback(stream, cudaSuccess, data); }));
}

// --- events ---

SIM_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  activate();
  *event = reinterpret_cast<cudaEvent_t>(new Event{nullptr, (flags & cudaEventDisableTiming) == 0});
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
SIM_API cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete &eventOf(event);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned) {
  Stream& stream = streamOf(handle);
  const auto mark = std::make_shared<Mark>();
  eventOf(event).mark = mark;
  if (stream.recording) {
    mark->recording = stream.recording;
    mark->clock = stream.clock;
    return done(cudaSuccess);
  }
  stream.push([mark] { mark->reach(); });
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return cudaEventRecordWithFlags(event, stream, cudaEventRecordDefault);
}
SIM_API cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  Stream& stream = streamOf(handle);
  const auto mark = eventOf(event).mark;
  if (mark == nullptr) return done(cudaSuccess);
  if (mark->recording == nullptr) {
    if (stream.recording) {
      std::lock_guard guard(lock);
      spoil(*stream.recording, "it waits for work that is not recorded");
      return done(cudaErrorStreamCaptureIsolation);
    }
    stream.push([mark] { mark->wait(); });
    return done(cudaSuccess);
  }
  std::lock_guard guard(lock);
  if (recordings().count(mark->recording) == 0) return done(cudaErrorCapturedEvent);
  if (stream.recording && stream.recording != mark->recording) {
    spoil(*stream.recording, "it waits for another recording");
    return done(cudaErrorStreamCaptureMerge);
  }
  // A stream that waits for a recording takes part in it.
  stream.recording = mark->recording;
  stream.recording->streams.insert(&stream);
  for (const auto& [which, when] : mark->clock) stream.clock[which] = std::max(stream.clock[which], when);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const auto error = forbidden("cudaEventQuery")) return done(error);
  const auto mark = eventOf(event).mark;
  if (mark == nullptr) return done(cudaSuccess);
  if (mark->recording) return done(cudaErrorCapturedEvent);
  std::lock_guard guard(mark->lock);
  return done(mark->reached ? cudaSuccess : cudaErrorNotReady);
}
SIM_API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const auto error = forbidden("cudaEventSynchronize")) return done(error);
  const auto mark = eventOf(event).mark;
  if (mark == nullptr) return done(cudaSuccess);
  if (mark->recording) return done(cudaErrorCapturedEvent);
  mark->wait();
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t last) {
  const Event &a = eventOf(first), &b = eventOf(last);
  if (!a.timing || !b.timing || !a.mark || !b.mark) return done(cudaErrorInvalidResourceHandle);
  *milliseconds = 0;
  if (a.mark == b.mark) return done(cudaSuccess);
  std::scoped_lock guard(a.mark->lock, b.mark->lock);
  if (!a.mark->reached || !b.mark->reached) return done(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(b.mark->time - a.mark->time).count();
  return done(cudaSuccess);
}

// --- recordings ---

SIM_API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, threadMode);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  if (handle == nullptr || handle == cudaStreamLegacy) return done(cudaErrorStreamCaptureUnsupported);
  Stream& stream = streamOf(handle);
  std::lock_guard guard(lock);
  if (stream.recording) return done(cudaErrorIllegalState);
  static unsigned long long next = 1;
  auto made = std::make_shared<Recording>();
  made->id = next++;
  made->mode = mode;
  made->thread = std::this_thread::get_id();
  made->origin = &stream;
  made->streams.insert(&stream);
  stream.recording = made;
  stream.clock.clear();
  recordings().insert(std::move(made));
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  Stream& stream = streamOf(handle);
  std::lock_guard guard(lock);
  *graph = nullptr;
  const auto ended = stream.recording;
  if (ended == nullptr) return done(cudaErrorIllegalState);
  if (ended->origin != &stream) return done(cudaErrorStreamCaptureUnmatched);
  if (ended->thread != std::this_thread::get_id() && ended->mode != cudaStreamCaptureModeRelaxed) {
    return done(cudaErrorStreamCaptureWrongThread);
  }
  bool joined = true;
  for (Stream* other : ended->streams) {
    joined = joined && other->clock[other] <= stream.clock[other];
    other->recording = nullptr;
  }
  for (Stream* other : ended->streams) other->clock.clear();
  for (auto i = ended->undo.rbegin(); i != ended->undo.rend(); ++i)
    memcpy(i->where, i->bytes.data(), i->bytes.size());
  recordings().erase(ended);
  if (ended->spoilt) return done(cudaErrorStreamCaptureInvalidated);
  if (!joined) return done(cudaErrorStreamCaptureUnjoined);
  *graph = reinterpret_cast<cudaGraph_t>(new Graph{std::move(ended->nodes)});
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                             unsigned long long* id, cudaGraph_t* graph,
                                             const cudaGraphNode_t** nodes, const cudaGraphEdgeData** edges,
                                             size_t* count) {
  const auto found = streamOf(handle).recording;
  *status = found == nullptr ? cudaStreamCaptureStatusNone
            : found->spoilt  ? cudaStreamCaptureStatusInvalidated
                             : cudaStreamCaptureStatusActive;
  if (id && found) *id = found->id;
  if (graph) *graph = nullptr;
  if (nodes) *nodes = nullptr;
  if (edges) *edges = nullptr;
  if (count) *count = 0;
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return cudaStreamGetCaptureInfo(stream, status, nullptr, nullptr, nullptr, nullptr, nullptr);
}
SIM_API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                                  unsigned long long) {
  *exec = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = reinterpret_cast<Graph*>(graph)->nodes.size();
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const auto& nodes = reinterpret_cast<Graph*>(exec)->nodes;
  trace("launch of %zu nodes", nodes.size());
  return done(enqueue(stream, [nodes] {
    for (const Work& node : nodes) node();
  }));
}
SIM_API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete reinterpret_cast<Graph*>(exec);
  return done(cudaSuccess);
}
