// Resizing of RGB bytes, bit for bit as PIL's Image.resize(BICUBIC) does it. No N-API, no libtorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rn {

// Memory that calls on one thread share, so that a batch does not allocate for every picture.
struct ResizeBuffers {
  std::vector<uint8_t> across;
};

// `rgb` holds height x width x 3 bytes *and one more* that may be read (its value does not matter). Writes
// 3 x to_height x to_width bytes, plane by plane, to `planes`.
//
// libtorch's own antialiased bicubic on bytes differs from PIL by one grey level in about one value of a
// hundred (its weights have 16 bits, PIL's 22), and users compare with models whose training saw PIL's
// pictures.
void ResizeToPlanes(const uint8_t* rgb, size_t height, size_t width, uint8_t* planes, size_t to_height,
                    size_t to_width, ResizeBuffers& buffers);

}  // namespace rn
