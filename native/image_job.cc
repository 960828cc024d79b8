#include "image_job.h"

#include <ATen/ops/empty.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "jpeg.h"
#include "picture_program.h"
#include "resize.h"
#include "thread_pool.h"

namespace rn {
namespace {

// Memory that pictures on one thread share; it grows once a thread, not once a picture.
struct Buffers {
  RgbImage image;
  std::vector<uint8_t> file;
  ProgramBuffers program;

  // One huge picture must not be held for ever.
  void Shrink() {
    constexpr size_t kMost = size_t{64} << 20;
    const size_t bytes = image.pixels.capacity() + file.capacity() + program.rgb.capacity() +
                         program.current.bytes.capacity() + program.other.bytes.capacity() +
                         program.resize.across.capacity();
    if (bytes > kMost) *this = Buffers();
  }
};
thread_local Buffers thread_buffers;

// A job in hand.
struct Work {
  std::shared_ptr<ImageJob> job;
  std::function<void()> done;
  std::atomic<size_t> next{0};
  std::atomic<size_t> runners{0};
  std::mutex mutex;  // guards job->failures
};

bool ReadFile(const std::string& path, std::vector<uint8_t>& bytes, std::string& error) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    error = std::strerror(errno);
    return false;
  }
  if (!S_ISREG(info.st_mode)) {  // opening a pipe would block for ever
    error = "not a regular file";
    return false;
  }
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) {
    error = std::strerror(errno);
    return false;
  }
  bytes.resize(static_cast<size_t>(info.st_size));
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file.get()));
  if (std::ferror(file.get())) {
    error = "cannot be read";
    return false;
  }
  if (bytes.empty()) error = "the file is empty";
  return !bytes.empty();
}

// A finished picture into its place in the batch.
template <typename T>
void Write(const Picture& picture, const std::vector<Patch>& patches, T* slot) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    std::memcpy(slot, picture.bytes.data(), picture.bytes.size());
  } else {
    for (size_t i = 0; i < picture.bytes.size(); i++) slot[i] = static_cast<T>(picture.bytes[i]);
  }
  for (const Patch& patch : patches) {
    for (size_t c = 0; c < kChannels; c++) {
      const float colour = patch.colour[c];
      const T value = std::is_same_v<T, uint8_t>
                          ? static_cast<T>(std::clamp(std::nearbyint(colour), 0.0f, 255.0f))
                          : static_cast<T>(colour);
      for (size_t y = patch.top; y < patch.top + patch.height; y++) {
        std::fill_n(slot + (c * picture.height + y) * picture.width + patch.left, patch.width, value);
      }
    }
  }
}

// Runs a source's program on its pixels and writes the result to its slot.
void Process(ImageJob& job, size_t index, const uint8_t* rgb, size_t height, size_t width) {
  ProgramBuffers& buffers = thread_buffers.program;
  const ImageSource& source = job.sources[index];
  const auto to_height = static_cast<size_t>(job.out.size(2)),
             to_width = static_cast<size_t>(job.out.size(3));
  const size_t offset = (job.first_slot + index) * kChannels * to_height * to_width;
  const bool bytes = job.out.scalar_type() == at::kByte;
  if (!source.has_program && bytes) {
    uint8_t* slot = job.out.mutable_data_ptr<uint8_t>() + offset;
    return ResizeToPlanes(rgb, height, width, slot, to_height, to_width, buffers.resize);
  }
  std::vector<Patch> patches;
  if (source.has_program) {
    patches = RunProgram(source.program, rgb, height, width, buffers);
  } else {
    buffers.current.Shape(to_height, to_width);
    ResizeToPlanes(rgb, height, width, buffers.current.bytes.data(), to_height, to_width, buffers.resize);
  }
  if (buffers.current.height != to_height || buffers.current.width != to_width) {
    auto size = [](size_t h, size_t w) { return std::to_string(h) + " x " + std::to_string(w); };
    throw std::runtime_error("the transforms make it " + size(buffers.current.height, buffers.current.width) +
                             " pixels, but the batch holds pictures of " + size(to_height, to_width));
  }
  if (bytes) {
    Write(buffers.current, patches, job.out.mutable_data_ptr<uint8_t>() + offset);
  } else {
    Write(buffers.current, patches, job.out.mutable_data_ptr<float>() + offset);
  }
}

// What went wrong, if anything did.
std::optional<ImageFailure> Load(ImageJob& job, size_t index) {
  RgbImage& image = thread_buffers.image;
  std::vector<uint8_t>& file = thread_buffers.file;
  const ImageSource& source = job.sources[index];
  const uint8_t* rgb = source.bytes.data();
  size_t height = source.height, width = source.width;
  std::shared_ptr<const CachedImage> cached;
  const bool cacheable = job.cache && !source.path.empty();
  if (cacheable && source.kind == ImageSource::kPath) cached = job.cache->Get(source.path);
  if (cached) {
    rgb = cached->rgb.data();
    height = cached->height;
    width = cached->width;
  } else if (source.kind != ImageSource::kRgb) {
    std::string error;
    if (source.kind == ImageSource::kPath && !ReadFile(source.path, file, error))
      return ImageFailure{index, false, error};
    const std::vector<uint8_t>& bytes = source.kind == ImageSource::kPath ? file : source.bytes;
    const Decode result = DecodeJpeg(bytes.data(), bytes.size(), image, error);
    if (result != Decode::kDone) return ImageFailure{index, result == Decode::kUnsupported, error};
    rgb = image.pixels.data();
    height = static_cast<size_t>(image.height);
    width = static_cast<size_t>(image.width);
  }
  if (cacheable && !cached) job.cache->Put(source.path, rgb, height, width);
  if (job.out.defined()) {
    Process(job, index, rgb, height, width);
    return std::nullopt;
  }
  ResizeBuffers buffers;
  job.decoded = at::empty({kChannels, static_cast<int64_t>(height), static_cast<int64_t>(width)}, at::kByte);
  ResizeToPlanes(rgb, height, width, job.decoded.mutable_data_ptr<uint8_t>(), height, width, buffers);
  return std::nullopt;
}

// One of a job's runners: takes the next source until there is none. The last to finish reports.
void Run(const std::shared_ptr<Work>& work) {
  ImageJob& job = *work->job;
  for (size_t i = work->next++; i < job.sources.size(); i = work->next++) {
    std::optional<ImageFailure> failure;
    try {
      failure = Load(job, i);
    } catch (const std::exception& e) {
      failure = ImageFailure{i, false, e.what()};
    }
    thread_buffers.Shrink();
    if (failure) {
      std::lock_guard<std::mutex> lock(work->mutex);
      job.failures.push_back(std::move(*failure));
    }
  }
  if (--work->runners > 0) return;
  // Threads finish in any order; what comes out must not depend on it.
  std::sort(job.failures.begin(), job.failures.end(),
            [](const ImageFailure& a, const ImageFailure& b) { return a.index < b.index; });
  work->done();
}

}  // namespace

void StartImageJob(std::shared_ptr<ImageJob> job, size_t threads, std::function<void()> done) {
  const auto work = std::make_shared<Work>();
  const size_t runners = std::max<size_t>(1, std::min(threads, job->sources.size()));
  work->job = std::move(job);
  work->done = std::move(done);
  work->runners = runners;
  ThreadPool& pool = ThreadPool::Instance();
  pool.Grow(threads);
  for (size_t i = 0; i < runners; i++) pool.Post([work] { Run(work); });
}

}  // namespace rn
