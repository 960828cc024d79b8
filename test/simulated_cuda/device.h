// A CUDA device of the imagination, for tests on machines without one: what its parts offer each other.
//
// libcudart.so.13, libcuda.so.1 and libnccl.so.2 are replaced by what these files make, and CUDA's operators
// by the CPU's on the "device's" memory. libtorch's own CUDA code (allocators, streams, graphs, autograd's
// device threads, ProcessGroupNCCL) runs as it is. Device addresses cannot be read by the host; copies from
// page-locked memory are late; what is forbidden while a stream records spoils the recording, as CUDA's rules
// say.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <vector>

#define SIM_API extern "C" __attribute__((visibility("default")))

namespace sim {

// --- device.cc: devices and errors. SIM_DEVICES (1), SIM_MEMORY_MIB (8192), SIM_TRACE. ---
int deviceCount();
// Memory of each, in bytes.
size_t deviceBytes();
int currentDevice();
void use(int device);
// Makes the device's context, as the first call that needs it does.
void activate();
// What a runtime function returns: `error`, or the one that has made the device useless.
cudaError_t done(cudaError_t error);
// From here on every call fails with this error.
void fail(cudaError_t error);
bool failed();
// One line to stderr: always, or where SIM_TRACE is set.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
void trace(const char* format, ...) __attribute__((format(printf, 1, 2)));

// --- memory.cc ---
bool onDevice(const void* address);
bool pageLocked(const void* address);
// Where the bytes of a device address are; other addresses stay as they are.
void* real(const void* address);

// --- streams.cc. SIM_DELAY_US (100): how late copies are. ---
struct Range {
  void* address;
  size_t size;
};
// Does `work` in the order of the stream and waits for it: another order of events a device could choose,
// too. While the stream records, `work` is noted, done all the same, so that shapes and values are sane, and
// what it wrote
// (`writes`) is undone when the recording ends.
cudaError_t run(cudaStream_t stream, const std::function<void()>& work, const std::vector<Range>& writes);
// The same without waiting.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work, const std::vector<Range>& writes = {});
bool recording(cudaStream_t stream);
// The error of a call that no stream may be recording for. SIM_ABORT: ends the process there, for a debugger.
cudaError_t forbidden(const char* call);
void drain(cudaStream_t stream);
void drainDevice(int device);

// --- batch_norm.cc: operators that the CPU has not ---
void addBatchNorm();

}  // namespace sim
