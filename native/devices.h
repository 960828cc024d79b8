// What belongs to devices: Init functions for addon.cc, and what there is to say when memory runs out.
#pragma once

#include "env.h"

#include <c10/util/Exception.h>

namespace rn {

void InitBackends(Napi::Env env, Napi::Object exports);
void InitCuda(Napi::Env env, Napi::Object exports);

// CUDA's current device and streams, which belong to a thread: what one does for another must be done on the
// other's. Devices that are not in use are left out; without CUDA it is empty.
struct CudaThread {
  int device = -1;
  std::vector<std::pair<int, int64_t>> streams;

  static CudaThread OfCaller();
  // Makes them those of the calling thread.
  void enter() const;
};

// Those of another thread until the end of the block.
class CudaThreadGuard {
 public:
  explicit CudaThreadGuard(const CudaThread& other) : before_(CudaThread::OfCaller()) { other.enter(); }
  ~CudaThreadGuard() {
    try {
      before_.enter();
    } catch (const std::exception&) {
      // The device has failed: whatever is done next says so.
    }
  }
  CudaThreadGuard(const CudaThreadGuard&) = delete;
  CudaThreadGuard& operator=(const CudaThreadGuard&) = delete;

 private:
  CudaThread before_;
};

// Bytes of tensors in libtorch's CUDA allocator, of all devices.
int64_t LiveCudaBytes() noexcept;

// Whether an error says that memory has run out, and what JavaScript holds of it.
bool IsOutOfMemory(const c10::Error& error);
std::string WhoHoldsMemory(EnvData& data);

}  // namespace rn
