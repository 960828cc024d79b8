// Pictures decoded, processed and written to their places in a batch by native threads. No N-API.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "image_cache.h"

namespace rn {

struct ImageSource {
  enum Kind { kPath, kEncoded, kRgb } kind = kPath;
  std::string path;
  std::vector<uint8_t> bytes;
  int height = 0, width = 0;  // of kRgb
  bool has_program = false;
  std::vector<double> program;
};

struct ImageFailure {
  size_t index;
  bool unsupported;  // another decoder may read it
  std::string message;
};

struct ImageJob {
  std::vector<ImageSource> sources;
  std::shared_ptr<ImageCache> cache;   // may be null
  at::Tensor out;                      // N x 3 x H x W; undefined for a job that only decodes
  size_t first_slot = 0;               // source i goes to slot first_slot + i
  at::Tensor decoded;                  // result of a job that only decodes
  std::vector<ImageFailure> failures;  // in order, once the job is done
};

// Has the job done by up to `threads` threads of the pool; then one of them calls `done`, which must not
// throw.
void StartImageJob(std::shared_ptr<ImageJob> job, size_t threads, std::function<void()> done);

}  // namespace rn
