// What to do with a picture, as numbers: operations one after the other, each a code and its arguments. The
// codes and the meaning of the arguments are in src/torch/image-program.ts, which writes such programs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "picture.h"
#include "resize.h"

namespace rn {

// Memory that calls on one thread share, so that a batch does not allocate for every picture.
struct ProgramBuffers {
  Picture current, other;
  std::vector<uint8_t> rgb;
  ResizeBuffers resize;
};

// A rectangle to be painted once the picture is in its batch, where colours need not be whole.
struct Patch {
  size_t top, left, height, width;
  float colour[kChannels];
};

// Runs `program` on a picture of height x width x 3 bytes (and one more, see resize.h) and leaves the result
// in `buffers.current`. Throws std::runtime_error on a program that is not one.
std::vector<Patch> RunProgram(const std::vector<double>& program, const uint8_t* rgb, size_t height,
                              size_t width, ProgramBuffers& buffers);

}  // namespace rn
