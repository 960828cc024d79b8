// What belongs to devices: Init functions for addon.cc, and what there is to say when memory runs out.
#pragma once

#include "env.h"

#include <c10/util/Exception.h>

namespace rn {

void InitBackends(Napi::Env env, Napi::Object exports);
void InitCuda(Napi::Env env, Napi::Object exports);
void AddCudaGraphs(Napi::Env env, Napi::Object cuda);

// Events and graphs belong to the JavaScript thread that made them, which knows them by number. The tables
// are never deleted: when the process ends, CUDA may be gone before.
template <class T>
struct Table {
  std::unordered_map<int32_t, std::unique_ptr<T>> items;
  int32_t next = 1;

  int32_t add(std::unique_ptr<T> item) {
    items.emplace(next, std::move(item));
    return next++;
  }
  T& get(const Napi::Value& id, const char* what) {
    const auto found = id.IsNumber() ? items.find(id.As<Napi::Number>().Int32Value()) : items.end();
    if (found == items.end()) throw TypeError(std::string("this ") + what + " has been released");
    return *found->second;
  }
};

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
