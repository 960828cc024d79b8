// A picture being worked on, and what can be done to it. Byte for byte what PIL does, since the pictures that
// published models were trained on went through PIL. No N-API, no libtorch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rn {

constexpr size_t kChannels = 3;

// RGB bytes, plane by plane: 3 x height x width.
struct Picture {
  size_t height = 0, width = 0;
  std::vector<uint8_t> bytes;

  size_t plane_size() const { return height * width; }
  uint8_t* plane(size_t channel) { return bytes.data() + channel * plane_size(); }
  const uint8_t* plane(size_t channel) const { return bytes.data() + channel * plane_size(); }
  void Shape(size_t to_height, size_t to_width) {
    height = to_height;
    width = to_width;
    bytes.resize(kChannels * plane_size());
  }
};

// --- picture_colour.cc: in place ---

// PIL's ImageEnhance: the picture blended with a degenerate one (black, its mean grey, its greys, itself
// smoothed); factor 1 leaves it, 0 gives the degenerate one, above 1 goes away from it.
void Brightness(Picture& picture, float factor);
void Contrast(Picture& picture, float factor);
void Saturation(Picture& picture, float factor);
void Sharpness(Picture& picture, float factor);
// Turns the hue, 0 to 255 being the whole circle.
void TurnHue(Picture& picture, uint8_t turn);
void Autocontrast(Picture& picture);  // each channel stretched to 0..255
void Equalize(Picture& picture);      // each channel's histogram flattened
void Invert(Picture& picture);
void Posterize(Picture& picture, int bits);      // keeps the highest bits
void Solarize(Picture& picture, int threshold);  // inverts from the threshold up

// --- picture_geometry.cc: from one picture into another ---

enum class Padding { kConstant, kEdge, kReflect, kSymmetric };
enum class Filter { kNearest, kBilinear, kBicubic };

// The piece of `from` at (top, left), height x width, after padding it by `padding` on every side. The piece
// may reach over the padded picture: what is outside is 0.
void PadAndCrop(const Picture& from, int64_t padding, Padding mode, int64_t top, int64_t left, size_t height,
                size_t width, Picture& to);
void MirrorInPlace(Picture& picture);

// Pixel (x, y) of the result shows (a x + b y + c, d x + e y + f) of the source; `fill` where that is
// outside.
struct Affine {
  double a, b, c, d, e, f;
};
void Transform(const Picture& from, const Affine& map, Filter filter, uint8_t fill, Picture& to);

}  // namespace rn
