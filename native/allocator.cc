// Memory of CPU tensors. Counts the bytes that live ones hold, so that V8 can be told of them: libtorch keeps
// no such figure. And it takes care that large blocks are found again once they are freed.
#include "env.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace rn {

namespace {

std::atomic<int64_t> live{0};
std::atomic<int64_t> peak{0};

// Whether malloc is ours to tune; set once, before the first block.
bool tuned = false;

// libtorch asks for aligned blocks. For one of n bytes glibc before 2.38 looks for a free one of n + 96, cuts
// it and scatters the ends, so that one freed is never large enough for the next of its size: memory grows,
// and is zeroed by the kernel page by page. Aligned by hand, a block's successor finds it. Its start is kept
// before it.
void* AllocateAligned(size_t bytes) {
  constexpr uintptr_t kAlignment = c10::gAlignment;
  static_assert(kAlignment >= sizeof(void*) + alignof(std::max_align_t));
  if (bytes == 0) return nullptr;
  void* start = bytes > PTRDIFF_MAX - kAlignment ? nullptr : std::malloc(bytes + kAlignment);
  TORCH_CHECK(start != nullptr, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes,
              " bytes. Error code ", ENOMEM, " (", std::strerror(ENOMEM), ")");
  auto* block =
      reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(start) + kAlignment) & ~(kAlignment - 1));
  block[-1] = start;
  return block;
}

// What malloc knows a block by.
void* StartOf(void* block) { return tuned ? static_cast<void**>(block)[-1] : block; }

void Release(void* pointer) {
  if (pointer == nullptr) return;
  void* start = StartOf(pointer);
  live.fetch_sub(static_cast<int64_t>(malloc_usable_size(start)), std::memory_order_relaxed);
  c10::profiledCPUMemoryReporter().Delete(pointer);
  if (tuned) {
    std::free(start);
  } else {
    c10::free_cpu(pointer);
  }
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* pointer = nullptr;
    try {
      pointer = tuned ? AllocateAligned(bytes) : c10::alloc_cpu(bytes);
    } catch (c10::Error&) {
      c10::profiledCPUMemoryReporter().OutOfMemory(bytes);
      throw;
    }
    if (pointer != nullptr) {
      const auto size = static_cast<int64_t>(malloc_usable_size(StartOf(pointer)));
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
void TuneMalloc() {
#ifdef __GLIBC__
  if (std::getenv("MALLOC_MMAP_THRESHOLD_") != nullptr || std::getenv("MALLOC_TRIM_THRESHOLD_") != nullptr ||
      std::getenv("GLIBC_TUNABLES") != nullptr) {
    return;
  }
  constexpr int kMegabyte = 1 << 20;
  // glibc before 2.35 refuses more than 32 MiB.
  if (mallopt(M_MMAP_THRESHOLD, 256 * kMegabyte) == 0) mallopt(M_MMAP_THRESHOLD, 32 * kMegabyte);
  mallopt(M_TRIM_THRESHOLD, 512 * kMegabyte);
  tuned = true;
#endif
}

}  // namespace

void InstallCountingAllocator() {
  TuneMalloc();
  static CountingAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
}

int64_t LiveCpuBytes() noexcept { return live.load(std::memory_order_relaxed); }
int64_t PeakCpuBytes() noexcept { return peak.load(std::memory_order_relaxed); }
void ResetPeakCpuBytes() noexcept { peak.store(live.load()); }

}  // namespace rn
