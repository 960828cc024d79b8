// Memory of devices, page-locked memory, and copies.
#include "device.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

namespace sim {

namespace {

constexpr size_t kAlignment = 512;

std::mutex lock;

// A range of addresses that nobody can read, and as large a one that holds the bytes.
class Memory {
 public:
  Memory() : size_(deviceBytes()) {
    addresses_ = map(PROT_NONE);
    bytes_ = map(PROT_READ | PROT_WRITE);
  }

  size_t size() const { return size_; }
  size_t free() const { return size_ - used_; }
  bool has(const void* p) const { return p >= addresses_ && p < addresses_ + size_; }
  void* real(const void* p) const { return bytes_ + (static_cast<const char*>(p) - addresses_); }

  // First fit. New memory is NaN and -1 throughout, so that what nobody wrote shows.
  void* take(size_t size) {
    size = (size + kAlignment - 1) / kAlignment * kAlignment;
    size_t at = 0;
    for (const auto& [begin, length] : taken_) {
      if (begin - at >= size) break;
      at = begin + length;
    }
    if (at + size > size_) return nullptr;
    taken_[at] = size;
    used_ += size;
    memset(bytes_ + at, 0xff, size);
    return addresses_ + at;
  }
  bool give(const void* p) {
    const auto found = taken_.find(static_cast<const char*>(p) - addresses_);
    if (found == taken_.end()) return false;
    used_ -= found->second;
    madvise(bytes_ + found->first, found->second, MADV_DONTNEED);
    taken_.erase(found);
    return true;
  }

 private:
  char* map(int protection) const {
    void* made = mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) {
      say("no addresses left for SIM_MEMORY_MIB");
      abort();
    }
    return static_cast<char*>(made);
  }

  size_t size_, used_ = 0;
  char *addresses_, *bytes_;
  std::map<size_t, size_t> taken_;
};

std::vector<Memory>& memories() {
  static auto* all = new std::vector<Memory>(deviceCount());
  return *all;
}
std::map<const char*, size_t>& pageLockedRanges() {
  static auto* all = new std::map<const char*, size_t>;
  return *all;
}
int deviceOf(const void* address) {
  for (int i = 0; i < deviceCount(); ++i) {
    if (memories()[i].has(address)) return i;
  }
  return -1;
}

void beLate() {
  static const long delay = getenv("SIM_DELAY_US") ? atol(getenv("SIM_DELAY_US")) : 100;
  std::this_thread::sleep_for(std::chrono::microseconds(delay));
}

cudaError_t copy(void* to, const void* from, size_t size, cudaStream_t stream) {
  if (size == 0) return done(cudaSuccess);
  const bool within = onDevice(to) && onDevice(from);
  const bool locked = (onDevice(to) || pageLocked(to)) && (onDevice(from) || pageLocked(from));
  const bool recorded = recording(stream);
  trace("copy of %zu bytes%s%s", size, locked ? "" : ", pageable", recorded ? ", recorded" : "");
  if (!locked && !recorded) {
    // The bytes are taken, or have come, when the call returns.
    drain(stream);
    memcpy(real(to), real(from), size);
    return done(cudaSuccess);
  }
  if (!locked) say("a copy from or to pageable memory is recorded: its address stays the same");
  const auto work = [=] {
    if (!within && !recorded) beLate();
    memcpy(real(to), real(from), size);
  };
  return done(enqueue(stream, work, onDevice(to) ? std::vector<Range>{{to, size}} : std::vector<Range>{}));
}

}  // namespace

bool onDevice(const void* address) { return deviceOf(address) >= 0; }
void* real(const void* address) {
  const int device = deviceOf(address);
  return device < 0 ? const_cast<void*>(address) : memories()[device].real(address);
}
bool pageLocked(const void* address) {
  std::lock_guard guard(lock);
  auto found = pageLockedRanges().upper_bound(static_cast<const char*>(address));
  if (found == pageLockedRanges().begin()) return false;
  --found;
  return static_cast<const char*>(address) < found->first + found->second;
}

}  // namespace sim

using namespace sim;

SIM_API cudaError_t cudaMalloc(void** address, size_t size) {
  activate();
  if (const auto error = forbidden("cudaMalloc")) return done(error);
  std::lock_guard guard(lock);
  *address = memories()[currentDevice()].take(size);
  return done(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}
SIM_API cudaError_t cudaFree(void* address) {
  activate();
  if (address == nullptr) return done(cudaSuccess);
  if (const auto error = forbidden("cudaFree")) return done(error);
  const int device = deviceOf(address);
  if (device >= 0) drainDevice(device);
  std::lock_guard guard(lock);
  if (device < 0 || !memories()[device].give(address)) {
    say("cudaFree of what is not there");
    abort();
  }
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  activate();
  std::lock_guard guard(lock);
  const Memory& memory = memories()[currentDevice()];
  *total = memory.size();
  // A context takes some.
  *free = memory.free() - std::min<size_t>(memory.free(), 64 << 20);
  return done(cudaSuccess);
}

SIM_API cudaError_t cudaHostAlloc(void** address, size_t size, unsigned) {
  if (const auto error = forbidden("cudaHostAlloc")) return done(error);
  *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  if (*address == nullptr) return done(cudaErrorMemoryAllocation);
  std::lock_guard guard(lock);
  pageLockedRanges()[static_cast<char*>(*address)] = size;
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaFreeHost(void* address) {
  if (const auto error = forbidden("cudaFreeHost")) return done(error);
  std::lock_guard guard(lock);
  pageLockedRanges().erase(static_cast<char*>(address));
  free(address);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  *attributes = {};
  const int device = deviceOf(address);
  attributes->device = device;
  if (device >= 0) {
    attributes->type = cudaMemoryTypeDevice;
    attributes->devicePointer = const_cast<void*>(address);
  } else if (pageLocked(address)) {
    attributes->type = cudaMemoryTypeHost;
    attributes->hostPointer = const_cast<void*>(address);
  } else {
    attributes->type = cudaMemoryTypeUnregistered;
  }
  return done(cudaSuccess);
}

SIM_API cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind) {
  if (const auto error = forbidden("cudaMemcpy")) return done(error);
  drain(nullptr);
  memcpy(real(to), real(from), size);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind,
                                    cudaStream_t stream) {
  return copy(to, from, size, stream);
}
SIM_API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t size,
                                        cudaStream_t stream) {
  return copy(to, from, size, stream);
}
SIM_API cudaError_t cudaMemcpy2DAsync(void* to, size_t toPitch, const void* from, size_t fromPitch,
                                      size_t width, size_t height, cudaMemcpyKind, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  for (size_t row = 0; row < height && error == cudaSuccess; ++row) {
    error = copy(static_cast<char*>(to) + row * toPitch, static_cast<const char*>(from) + row * fromPitch,
                 width, stream);
  }
  return error;
}
SIM_API cudaError_t cudaMemset(void* address, int value, size_t size) {
  if (const auto error = forbidden("cudaMemset")) return done(error);
  drain(nullptr);
  memset(real(address), value, size);
  return done(cudaSuccess);
}
SIM_API cudaError_t cudaMemsetAsync(void* address, int value, size_t size, cudaStream_t stream) {
  return done(enqueue(stream, [=] { memset(real(address), value, size); }, {{address, size}}));
}
