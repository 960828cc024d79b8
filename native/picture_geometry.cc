#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "picture.h"

namespace rn {
namespace {

constexpr int64_t kOutside = INT64_MIN;

// For each of `count` places from `start` on, along a side of `size` pixels padded by `padding`: the pixel it
// repeats, or kOutside.
std::vector<int64_t> Sources(int64_t size, int64_t padding, Padding mode, int64_t start, size_t count) {
  const int64_t most = mode == Padding::kReflect ? size - 1 : size;
  if ((mode == Padding::kReflect || mode == Padding::kSymmetric) && padding > most) {
    throw std::runtime_error("padding by " + std::to_string(padding) + " pixels is too much for a side of " +
                             std::to_string(size) + ": mirrored, it can be " + std::to_string(most));
  }
  std::vector<int64_t> sources(count);
  for (size_t i = 0; i < count; i++) {
    int64_t at = start + static_cast<int64_t>(i) - padding;
    if (at < -padding || at >= size + padding) {
      at = kOutside;
    } else if (at < 0 || at >= size) {
      const int64_t skip = mode == Padding::kReflect ? 0 : 1;
      if (mode == Padding::kConstant) {
        at = kOutside;
      } else if (mode == Padding::kEdge) {
        at = at < 0 ? 0 : size - 1;
      } else {
        at = at < 0 ? -at - skip : 2 * (size - 1) - at + skip;
      }
    }
    sources[i] = at;
  }
  return sources;
}

// A row of the source, pixels outside it being those at its border.
struct Row {
  const uint8_t* values;
  int64_t width;
  double operator[](int64_t x) const { return values[std::clamp<int64_t>(x, 0, width - 1)]; }
};

double Line(double from, double to, double part) { return from + (to - from) * part; }

// Cubic convolution with a = -1.
double Curve(double v1, double v2, double v3, double v4, double part) {
  const double p2 = v3 - v1, p3 = 2 * (v1 - v2) + v3 - v4, p4 = v2 - v1 - v3 + v4;
  return v2 + part * (p2 + part * (p3 + part * p4));
}

uint8_t Sample(const uint8_t* plane, int64_t height, int64_t width, double x, double y, Filter filter) {
  x -= 0.5;
  y -= 0.5;
  const auto left = static_cast<int64_t>(std::floor(x)), top = static_cast<int64_t>(std::floor(y));
  const double dx = x - static_cast<double>(left), dy = y - static_cast<double>(top);
  auto row = [&](int64_t at) { return Row{plane + std::clamp<int64_t>(at, 0, height - 1) * width, width}; };
  double value;
  if (filter == Filter::kBilinear) {
    const Row above = row(top), below = row(top + 1);
    value = Line(Line(above[left], above[left + 1], dx), Line(below[left], below[left + 1], dx), dy);
  } else {
    double rows[4];
    for (int64_t i = 0; i < 4; i++) {
      const Row one = row(top - 1 + i);
      rows[i] = Curve(one[left - 1], one[left], one[left + 1], one[left + 2], dx);
    }
    value = Curve(rows[0], rows[1], rows[2], rows[3], dy);
  }
  return static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
}

// Nearest pixels, in 16-bit fractions: where a pixel falls on an edge, PIL's rounding decides.
void TransformNearest(const Picture& from, const Affine& map, Picture& to) {
  auto fixed = [](double value) { return static_cast<int64_t>(std::floor(value * 65536.0 + 0.5)); };
  const int64_t a = fixed(map.a), b = fixed(map.b), d = fixed(map.d), e = fixed(map.e);
  int64_t row_x = fixed(map.c + map.a * 0.5 + map.b * 0.5);
  int64_t row_y = fixed(map.f + map.d * 0.5 + map.e * 0.5);
  const auto height = static_cast<int64_t>(from.height), width = static_cast<int64_t>(from.width);
  for (size_t y = 0; y < to.height; y++, row_x += b, row_y += e) {
    int64_t in_x = row_x, in_y = row_y;
    for (size_t x = 0; x < to.width; x++, in_x += a, in_y += d) {
      const int64_t column = in_x >> 16, row = in_y >> 16;
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      for (size_t c = 0; c < kChannels; c++) {
        to.plane(c)[y * to.width + x] = from.plane(c)[row * width + column];
      }
    }
  }
}

}  // namespace

void PadAndCrop(const Picture& from, int64_t padding, Padding mode, int64_t top, int64_t left, size_t height,
                size_t width, Picture& to) {
  const std::vector<int64_t> rows = Sources(static_cast<int64_t>(from.height), padding, mode, top, height);
  const std::vector<int64_t> columns = Sources(static_cast<int64_t>(from.width), padding, mode, left, width);
  to.Shape(height, width);
  // Most of a row is a piece of a row of the source: from the first column that is inside by itself on.
  size_t first = 0, inside = 0;
  while (first < width && columns[first] != left + static_cast<int64_t>(first) - padding) first++;
  while (first + inside < width &&
         columns[first + inside] == left + static_cast<int64_t>(first + inside) - padding) {
    inside++;
  }
  for (size_t c = 0; c < kChannels; c++) {
    for (size_t y = 0; y < height; y++) {
      uint8_t* out = to.plane(c) + y * width;
      if (rows[y] == kOutside) {
        std::memset(out, 0, width);
        continue;
      }
      const uint8_t* in = from.plane(c) + rows[y] * static_cast<int64_t>(from.width);
      for (size_t x = 0; x < first; x++) out[x] = columns[x] == kOutside ? 0 : in[columns[x]];
      if (inside > 0) std::memcpy(out + first, in + columns[first], inside);
      for (size_t x = first + inside; x < width; x++) out[x] = columns[x] == kOutside ? 0 : in[columns[x]];
    }
  }
}

void MirrorInPlace(Picture& picture) {
  for (size_t row = 0; row < kChannels * picture.height; row++) {
    uint8_t* start = picture.bytes.data() + row * picture.width;
    std::reverse(start, start + picture.width);
  }
}

void Transform(const Picture& from, const Affine& map, Filter filter, uint8_t fill, Picture& to) {
  to.Shape(from.height, from.width);
  std::fill(to.bytes.begin(), to.bytes.end(), fill);
  if (filter == Filter::kNearest) return TransformNearest(from, map, to);
  const auto height = static_cast<int64_t>(from.height), width = static_cast<int64_t>(from.width);
  for (size_t y = 0; y < to.height; y++) {
    for (size_t x = 0; x < to.width; x++) {
      const double px = static_cast<double>(x) + 0.5, py = static_cast<double>(y) + 0.5;
      const double in_x = map.a * px + map.b * py + map.c, in_y = map.d * px + map.e * py + map.f;
      if (!(in_x >= 0 && in_x < static_cast<double>(width) && in_y >= 0 &&
            in_y < static_cast<double>(height))) {
        continue;
      }
      for (size_t c = 0; c < kChannels; c++) {
        to.plane(c)[y * to.width + x] = Sample(from.plane(c), height, width, in_x, in_y, filter);
      }
    }
  }
}

}  // namespace rn
