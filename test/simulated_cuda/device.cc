// Devices, errors, and kernels, which there are none of.
#include "device.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unordered_map>

namespace sim {

namespace {

std::atomic<int> sticky{cudaSuccess};
std::atomic<bool> active[64];
thread_local cudaError_t last = cudaSuccess;
thread_local int current = 0;

std::unordered_map<const void*, std::string>& kernelNames() {
  static auto* names = new std::unordered_map<const void*, std::string>;
  return *names;
}

cudaError_t noKernel(const void* function) {
  const auto found = kernelNames().find(function);
  say("kernel not simulated: %.300s", found == kernelNames().end() ? "?" : found->second.c_str());
  return done(cudaErrorNotSupported);
}

void line(const char* format, va_list arguments) {
  char text[512];
  vsnprintf(text, sizeof text, format, arguments);
  fprintf(stderr, "simulated CUDA: %s\n", text);
}

}  // namespace

int deviceCount() {
  static const int count = getenv("SIM_DEVICES") ? atoi(getenv("SIM_DEVICES")) : 1;
  return count;
}
size_t deviceBytes() {
  static const size_t bytes = size_t(getenv("SIM_MEMORY_MIB") ? atol(getenv("SIM_MEMORY_MIB")) : 8192) << 20;
  return bytes;
}
int currentDevice() { return current; }
void use(int device) { current = device; }
void activate() { active[current] = true; }

cudaError_t done(cudaError_t error) {
  if (error == cudaSuccess) error = static_cast<cudaError_t>(sticky.load());
  if (error != cudaSuccess) last = error;
  return error;
}
void fail(cudaError_t error) { sticky = error; }
bool failed() { return sticky != cudaSuccess; }

void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  line(format, arguments);
  va_end(arguments);
}
void trace(const char* format, ...) {
  static const bool wanted = getenv("SIM_TRACE") != nullptr;
  if (!wanted) return;
  va_list arguments;
  va_start(arguments, format);
  line(format, arguments);
  va_end(arguments);
}

}  // namespace sim

using namespace sim;

SIM_API int simContextActive(int device) { return device >= 0 && device < deviceCount() && active[device]; }

SIM_API cudaError_t cudaGetDeviceCount(int* count) {
  *count = deviceCount();
  return *count > 0 ? cudaSuccess : done(cudaErrorNoDevice);
}
SIM_API cudaError_t cudaGetDevice(int* device) {
  *device = current;
  return cudaSuccess;
}
SIM_API cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= deviceCount()) return done(cudaErrorInvalidDevice);
  current = device;
  activate();
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  if (device < 0 || device >= deviceCount()) return done(cudaErrorInvalidDevice);
  *p = {};
  strcpy(p->name, "Simulated device");
  p->totalGlobalMem = deviceBytes();
  p->major = 9;
  p->multiProcessorCount = 132;
  p->warpSize = 32;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsPerMultiProcessor = 2048;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->sharedMemPerBlock = 49152;
  p->regsPerBlock = p->regsPerMultiprocessor = 65536;
  p->l2CacheSize = 50 << 20;
  return cudaSuccess;
}
SIM_API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = 132;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 49152;
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    default:
      *value = 0;
  }
  return cudaSuccess;
}
SIM_API cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}
SIM_API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
SIM_API cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  snprintf(text, size, "0000:%02x:00.0", device);
  return cudaSuccess;
}
SIM_API cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
SIM_API cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
SIM_API cudaError_t cudaDeviceSynchronize() {
  if (const auto error = forbidden("cudaDeviceSynchronize")) return done(error);
  drainDevice(current);
  return done(cudaSuccess);
}

SIM_API cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  last = cudaSuccess;
  return error == cudaSuccess ? static_cast<cudaError_t>(sticky.load()) : error;
}
SIM_API cudaError_t cudaPeekAtLastError() { return last; }
SIM_API const char* cudaGetErrorName(cudaError_t) { return "cudaErrorSimulated"; }
SIM_API const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorAssert:
      return "device-side assert triggered";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorNotSupported:
      return "operation not supported";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    default:
      return "an error of the simulated device";
  }
}

// Kernels are known by name, for the message; operators.cc sees to it that none is launched.
struct Launch {
  dim3 grid, block;
  size_t shared;
  void* stream;
};
static thread_local std::vector<Launch> launches;

SIM_API void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
SIM_API void __cudaRegisterFatBinaryEnd(void**) {}
SIM_API void __cudaUnregisterFatBinary(void**) {}
SIM_API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
SIM_API void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, void*, void*,
                                    void*, void*, int*) {
  kernelNames()[function] = name;
}
SIM_API char __cudaInitModule(void**) { return 0; }
SIM_API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void* stream) {
  launches.push_back({grid, block, shared, stream});
  return 0;
}
SIM_API cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Launch& top = launches.back();
  *grid = top.grid;
  *block = top.block;
  *shared = top.shared;
  *static_cast<void**>(stream) = top.stream;
  launches.pop_back();
  return cudaSuccess;
}
SIM_API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
SIM_API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t, cudaStream_t) {
  return noKernel(kernel);
}
SIM_API cudaError_t cudaLaunchKernel(const void* function, dim3, dim3, void**, size_t, cudaStream_t) {
  return noKernel(function);
}
SIM_API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void* function, void**) {
  return noKernel(function);
}
SIM_API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};
  attributes->maxThreadsPerBlock = 1024;
  return cudaSuccess;
}
SIM_API cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
SIM_API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void*, int,
                                                                           size_t, unsigned) {
  *blocks = 1;
  return cudaSuccess;
}

static int notSupported() { return cudaErrorNotSupported; }
SIM_API cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                                     unsigned long long,
                                                     cudaDriverEntryPointQueryResult* result) {
  *function = dlsym(RTLD_DEFAULT, name);
  if (*function == nullptr) *function = reinterpret_cast<void*>(notSupported);
  if (result) *result = cudaDriverEntryPointSuccess;
  return cudaSuccess;
}
