// JPEG to RGB bytes by libjpeg-turbo, where the machine has it (RN_HAVE_JPEG). No N-API, no libtorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rn {

struct RgbImage {
  int height = 0;
  int width = 0;
  std::vector<uint8_t> pixels;  // height x width x 3, and one more, as ResizeToPlanes wants it
};

enum class Decode {
  kDone,
  kUnsupported,  // not a JPEG, or one that needs more than this decoder does: CMYK, rotated by EXIF, no
                 // libjpeg
  kFailed,       // a broken file; `error` says how
};

// Decodes as PIL does: accurate integer DCT, smooth chroma upsampling, grey repeated into three channels,
// colour profiles ignored. `image.pixels` is reused when it is large enough. A file that ends too early is an
// error; harmless oddities (stray bytes between markers) are not.
Decode DecodeJpeg(const uint8_t* data, size_t size, RgbImage& image, std::string& error);

}  // namespace rn
