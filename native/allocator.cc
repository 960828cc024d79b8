// Memory of CPU tensors. Counts the bytes that live ones hold, so that V8 can be told of them: libtorch keeps
// no such figure. The memory itself comes from libtorch's own functions, unchanged.
#include "env.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <cstdlib>

namespace rn {

namespace {

std::atomic<int64_t> live{0};
std::atomic<int64_t> peak{0};

void Release(void* pointer) {
  if (pointer == nullptr) return;
  live.fetch_sub(static_cast<int64_t>(malloc_usable_size(pointer)), std::memory_order_relaxed);
  c10::profiledCPUMemoryReporter().Delete(pointer);
  c10::free_cpu(pointer);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* pointer = nullptr;
    try {
      pointer = c10::alloc_cpu(bytes);
    } catch (c10::Error&) {
      c10::profiledCPUMemoryReporter().OutOfMemory(bytes);
      throw;
    }
    if (pointer != nullptr) {
      const auto size = static_cast<int64_t>(malloc_usable_size(pointer));
      const int64_t now = live.fetch_add(size, std::memory_order_relaxed) + size;
      int64_t highest = peak.load(std::memory_order_relaxed);
      while (now > highest && !peak.compare_exchange_weak(highest, now, std::memory_order_relaxed)) {
      }
      c10::profiledCPUMemoryReporter().New(pointer, bytes);
    }
    return {pointer, pointer, &Release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Release; }
  void copy_data(void* dest, const void* src, std::size_t count) const override {
    default_copy_data(dest, src, count);
  }
};

// glibc maps blocks above 32 MiB at most from the kernel and gives them back when they are freed, so that
// every step of a training pays for zeroed pages again: a quarter of a ResNet-50 step on two cores. Kept in
// the heap they are found again. Whoever has set malloc's environment variables is left alone.
void KeepLargeBlocks() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") != nullptr || std::getenv("MALLOC_TRIM_THRESHOLD_") != nullptr ||
      std::getenv("GLIBC_TUNABLES") != nullptr) {
    return;
  }
  constexpr int kMegabyte = 1 << 20;
  mallopt(M_MMAP_THRESHOLD, 256 * kMegabyte);
  mallopt(M_TRIM_THRESHOLD, 512 * kMegabyte);
#endif
}

}  // namespace

void InstallCountingAllocator() {
  KeepLargeBlocks();
  static CountingAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
}

int64_t LiveCpuBytes() noexcept { return live.load(std::memory_order_relaxed); }
int64_t PeakCpuBytes() noexcept { return peak.load(std::memory_order_relaxed); }
void ResetPeakCpuBytes() noexcept { peak.store(live.load()); }

}  // namespace rn
