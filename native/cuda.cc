// CUDA devices, streams, events and memory (graphs are in cuda_graphs.cc): the object `cuda` of the addon,
// which is there only where libtorch and the toolkit's headers have CUDA. src/torch/cuda/native.ts describes
// it.
#include "devices.h"

#ifdef RN_HAVE_CUDA

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

namespace rn {

namespace {

using c10::cuda::CUDAStream;

Table<at::cuda::CUDAEvent>& Events() {
  thread_local auto* table = new Table<at::cuda::CUDAEvent>;
  return *table;
}

c10::DeviceIndex DeviceIndex(const Napi::Value& value) {
  const int index = value.IsNumber() ? value.As<Napi::Number>().Int32Value() : -1;
  const int count = c10::cuda::device_count();
  if (index < 0 || index >= count) {
    throw TypeError("there is no device cuda:" + std::to_string(index) + "; there are " +
                    std::to_string(count));
  }
  return static_cast<c10::DeviceIndex>(index);
}

// A stream crosses as its number and its device.
CUDAStream StreamOf(const Napi::Value& id, const Napi::Value& device) {
  return CUDAStream::unpack3(id.As<Napi::Number>().Int64Value(), DeviceIndex(device), c10::DeviceType::CUDA);
}
Napi::Value Number(Napi::Env env, const CUDAStream& stream) {
  return Napi::Number::New(env, static_cast<double>(stream.id()));
}

Napi::Value CurrentDevice(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::Number::New(info.Env(), c10::cuda::current_device()); });
}

void SetDevice(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { c10::cuda::set_device(DeviceIndex(info[0])); });
}

void Synchronize(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const c10::cuda::CUDAGuard guard(DeviceIndex(info[0]));
    c10::cuda::device_synchronize();
  });
}

Napi::Value Properties(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const cudaDeviceProp& found = *at::cuda::getDeviceProperties(DeviceIndex(info[0]));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("name", std::string(found.name));
    result.Set("major", found.major);
    result.Set("minor", found.minor);
    result.Set("totalMemory", static_cast<double>(found.totalGlobalMem));
    result.Set("multiProcessors", found.multiProcessorCount);
    result.Set("l2CacheSize", found.l2CacheSize);
    return result;
  });
}

// memoryInfo(device) -> [free, total], of all processes
Napi::Value MemoryInfo(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const c10::cuda::CUDAGuard guard(DeviceIndex(info[0]));
    size_t free = 0;
    size_t total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    Napi::Array result = Napi::Array::New(info.Env(), 2);
    result.Set(0u, static_cast<double>(free));
    result.Set(1u, static_cast<double>(total));
    return result;
  });
}

// memoryStats(device) -> name to [now, peak], and two plain counts
Napi::Value MemoryStats(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    Current()->drain();
    // Sets CUDA up where nothing has: the allocator has no figures before.
    const c10::DeviceIndex device = DeviceIndex(info[0]);
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
    Napi::Object result = Napi::Object::New(env);
    const auto add = [&](const char* name, const auto& of) {
      // The first of the three is the aggregate of small and large pools.
      Napi::Array pair = Napi::Array::New(env, 2);
      pair.Set(0u, static_cast<double>(of[0].current));
      pair.Set(1u, static_cast<double>(of[0].peak));
      result.Set(name, pair);
    };
    add("allocatedBytes", stats.allocated_bytes);
    add("reservedBytes", stats.reserved_bytes);
    add("requestedBytes", stats.requested_bytes);
    add("allocations", stats.allocation);
    add("segments", stats.segment);
    result.Set("retries", static_cast<double>(stats.num_alloc_retries));
    result.Set("outOfMemory", static_cast<double>(stats.num_ooms));
    return result;
  });
}

void ResetPeak(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const c10::DeviceIndex device = DeviceIndex(info[0]);
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    c10::cuda::CUDACachingAllocator::resetPeakStats(device);
  });
}

void EmptyCache(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    Current()->drain();
    c10::cuda::CUDACachingAllocator::emptyCache();
  });
}

// newStream(device, highPriority) -> stream
Napi::Value NewStream(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const c10::DeviceIndex device = DeviceIndex(info[0]);
    at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
    return Number(info.Env(), c10::cuda::getStreamFromPool(info[1].ToBoolean().Value(), device));
  });
}
Napi::Value CurrentStream(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Number(info.Env(), c10::cuda::getCurrentCUDAStream(DeviceIndex(info[0])));
  });
}
Napi::Value DefaultStream(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Number(info.Env(), c10::cuda::getDefaultCUDAStream(DeviceIndex(info[0])));
  });
}
// setStream(stream, device): the stream of that device from here on
void SetStream(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { c10::cuda::setCurrentCUDAStream(StreamOf(info[0], info[1])); });
}
Napi::Value StreamQuery(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), StreamOf(info[0], info[1]).query());
  });
}
void StreamSynchronize(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { StreamOf(info[0], info[1]).synchronize(); });
}
// recordStream(tensor, stream, device): the memory is not given to others before the stream has come this
// far.
void RecordStream(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    if (!tensor.is_cuda()) throw TypeError("recordStream needs a tensor on a CUDA device");
    c10::cuda::CUDACachingAllocator::recordStream(tensor.storage().data_ptr(), StreamOf(info[1], info[2]));
  });
}

// newEvent(timing) -> event
Napi::Value NewEvent(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const unsigned flags = info[0].ToBoolean() ? cudaEventDefault : cudaEventDisableTiming;
    return Napi::Number::New(info.Env(), Events().add(std::make_unique<at::cuda::CUDAEvent>(flags)));
  });
}
void FreeEvent(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Events().items.erase(info[0].As<Napi::Number>().Int32Value()); });
}
void EventRecord(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Events().get(info[0], "Event").record(StreamOf(info[1], info[2])); });
}
// eventBlock(event, stream, device): the stream waits for the event.
void EventBlock(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Events().get(info[0], "Event").block(StreamOf(info[1], info[2])); });
}
Napi::Value EventQuery(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Boolean::New(info.Env(), Events().get(info[0], "Event").query());
  });
}
void EventSynchronize(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Events().get(info[0], "Event").synchronize(); });
}
// eventElapsed(first, second) -> milliseconds
Napi::Value EventElapsed(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    auto& first = Events().get(info[0], "Event");
    return Napi::Number::New(info.Env(), first.elapsed_time(Events().get(info[1], "Event")));
  });
}

bool InUse(c10::DeviceIndex device) {
  return c10::cuda::CUDACachingAllocator::get()->initialized() &&
         at::detail::getCUDAHooks().hasPrimaryContext(device);
}

}  // namespace

void InitCuda(Napi::Env env, Napi::Object exports) {
  Napi::Object cuda = Napi::Object::New(env);
  const auto add = [&](const char* name, auto function) {
    cuda.Set(name, Napi::Function::New(env, function, name));
  };
  add("currentDevice", CurrentDevice);
  add("setDevice", SetDevice);
  add("synchronize", Synchronize);
  add("properties", Properties);
  add("memoryInfo", MemoryInfo);
  add("memoryStats", MemoryStats);
  add("resetPeak", ResetPeak);
  add("emptyCache", EmptyCache);
  add("newStream", NewStream);
  add("currentStream", CurrentStream);
  add("defaultStream", DefaultStream);
  add("setStream", SetStream);
  add("streamQuery", StreamQuery);
  add("streamSynchronize", StreamSynchronize);
  add("recordStream", RecordStream);
  add("newEvent", NewEvent);
  add("freeEvent", FreeEvent);
  add("eventRecord", EventRecord);
  add("eventBlock", EventBlock);
  add("eventQuery", EventQuery);
  add("eventSynchronize", EventSynchronize);
  add("eventElapsed", EventElapsed);
  AddCudaGraphs(env, cuda);
  exports.Set("cuda", cuda);
}

CudaThread CudaThread::OfCaller() {
  CudaThread result;
  const c10::DeviceIndex count = c10::cuda::device_count();
  for (c10::DeviceIndex i = 0; i < count; ++i) {
    if (!InUse(i)) continue;
    result.device = c10::cuda::current_device();
    result.streams.emplace_back(i, c10::cuda::getCurrentCUDAStream(i).id());
  }
  return result;
}

void CudaThread::enter() const {
  if (device < 0) return;
  // Where the device has not been used, only once it is: its set-up takes time and memory.
  C10_CUDA_CHECK(c10::cuda::MaybeSetDevice(static_cast<c10::DeviceIndex>(device)));
  for (const auto& [index, id] : streams) {
    c10::cuda::setCurrentCUDAStream(
        CUDAStream::unpack3(id, static_cast<c10::DeviceIndex>(index), c10::DeviceType::CUDA));
  }
}

int64_t LiveCudaBytes() noexcept {
  int64_t bytes = 0;
  try {
    if (!c10::cuda::CUDACachingAllocator::get()->initialized()) return 0;
    const c10::DeviceIndex count = c10::cuda::device_count();
    for (c10::DeviceIndex i = 0; i < count; ++i) {
      if (InUse(i)) bytes += c10::cuda::CUDACachingAllocator::getDeviceStats(i).allocated_bytes[0].current;
    }
  } catch (const std::exception&) {
    return 0;  // another allocator, which keeps no figures
  }
  return bytes;
}

}  // namespace rn

#else

namespace rn {

void InitCuda(Napi::Env, Napi::Object) {}
CudaThread CudaThread::OfCaller() { return {}; }
void CudaThread::enter() const {}
int64_t LiveCudaBytes() noexcept { return 0; }

}  // namespace rn

#endif
