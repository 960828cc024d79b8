#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "picture.h"

namespace rn {
namespace {

using Table = std::array<uint8_t, 256>;
using Histogram = std::array<int64_t, 256>;

template <typename F>
Table MakeTable(F value) {
  Table table;
  for (int i = 0; i < 256; i++) table[i] = static_cast<uint8_t>(value(i));
  return table;
}

void Apply(const Table& table, uint8_t* values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = table[values[i]];
}

void Apply(const Table& table, Picture& picture) { Apply(table, picture.bytes.data(), picture.bytes.size()); }

Histogram Count(const uint8_t* values, size_t count) {
  Histogram histogram{};
  for (size_t i = 0; i < count; i++) histogram[values[i]]++;
  return histogram;
}

// Image.blend: single precision, cut off and not rounded.
inline uint8_t Blend(int degenerate, int value, float factor) {
  const float mixed = static_cast<float>(degenerate) + factor * static_cast<float>(value - degenerate);
  return static_cast<uint8_t>(std::clamp(mixed, 0.0f, 255.0f));
}

// ITU-R 601-2 luma in 16-bit fractions.
inline int Grey(int r, int g, int b) { return (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; }

struct Hsv {
  uint8_t h, s, v;
};

// Single and double precision are mixed as they are in PIL: half the hues depend on it.
inline Hsv ToHsv(int r, int g, int b) {
  const int most = std::max({r, g, b}), least = std::min({r, g, b});
  const auto value = static_cast<uint8_t>(most);
  if (most == least) return {0, 0, value};
  const float range = static_cast<float>(most - least);
  const float saturation = range / static_cast<float>(most);
  const float red = static_cast<float>(most - r) / range;
  const float green = static_cast<float>(most - g) / range;
  const float blue = static_cast<float>(most - b) / range;
  float sector;
  if (r == most) {
    sector = blue - green;
  } else if (g == most) {
    sector = static_cast<float>(2.0 + red - blue);
  } else {
    sector = static_cast<float>(4.0 + green - red);
  }
  const double around = sector / 6.0 + 1.0;
  const float hue = static_cast<float>(around >= 1.0 ? around - 1.0 : around);
  return {static_cast<uint8_t>(std::min(static_cast<int>(hue * 255.0), 255)),
          static_cast<uint8_t>(std::min(static_cast<int>(saturation * 255.0), 255)), value};
}

inline uint8_t Rounded(double value) { return static_cast<uint8_t>(std::clamp(value + 0.5, 0.0, 255.0)); }

inline void FromHsv(Hsv hsv, uint8_t& r, uint8_t& g, uint8_t& b) {
  const uint8_t v = hsv.v;
  if (hsv.s == 0) {
    r = g = b = v;
    return;
  }
  const float hue = static_cast<float>(static_cast<float>(hsv.h) * 6.0 / 255.0);
  const float s = static_cast<float>(static_cast<float>(hsv.s) / 255.0);
  const int sector = static_cast<int>(hue);
  const float f = hue - static_cast<float>(sector);
  const float brightness = static_cast<float>(v);
  const uint8_t p = Rounded(brightness * (1.0 - s));
  const uint8_t q = Rounded(brightness * (1.0 - s * f));
  const uint8_t t = Rounded(brightness * (1.0 - s * (1.0 - f)));
  const uint8_t table[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
  const uint8_t* rgb = table[sector % 6];
  r = rgb[0];
  g = rgb[1];
  b = rgb[2];
}

}  // namespace

void Brightness(Picture& picture, float factor) {
  Apply(MakeTable([factor](int i) { return Blend(0, i, factor); }), picture);
}

void Contrast(Picture& picture, float factor) {
  const uint8_t *r = picture.plane(0), *g = picture.plane(1), *b = picture.plane(2);
  int64_t sum = 0;
  for (size_t i = 0; i < picture.plane_size(); i++) sum += Grey(r[i], g[i], b[i]);
  const double mean = static_cast<double>(sum) / static_cast<double>(picture.plane_size());
  const int grey = static_cast<int>(mean + 0.5);
  Apply(MakeTable([grey, factor](int i) { return Blend(grey, i, factor); }), picture);
}

void Saturation(Picture& picture, float factor) {
  uint8_t *r = picture.plane(0), *g = picture.plane(1), *b = picture.plane(2);
  for (size_t i = 0; i < picture.plane_size(); i++) {
    const int grey = Grey(r[i], g[i], b[i]);
    r[i] = Blend(grey, r[i], factor);
    g[i] = Blend(grey, g[i], factor);
    b[i] = Blend(grey, b[i], factor);
  }
}

void Sharpness(Picture& picture, float factor) {
  const size_t height = picture.height, width = picture.width;
  const std::vector<uint8_t> before = picture.bytes;
  for (size_t c = 0; c < kChannels; c++) {
    const uint8_t* in = before.data() + c * height * width;
    uint8_t* out = picture.plane(c);
    // At the border the smoothed picture is the picture itself, so that blending changes nothing there.
    for (size_t y = 1; y + 1 < height; y++) {
      for (size_t x = 1; x + 1 < width; x++) {
        const uint8_t* at = in + y * width + x;
        int sum = 4 * at[0];
        for (const uint8_t* row : {at - width, at, at + width}) sum += row[-1] + row[0] + row[1];
        const int smoothed = (2 * sum + 13) / 26;  // a thirteenth, rounded
        out[y * width + x] = Blend(smoothed, at[0], factor);
      }
    }
  }
}

void TurnHue(Picture& picture, uint8_t turn) {
  uint8_t *r = picture.plane(0), *g = picture.plane(1), *b = picture.plane(2);
  for (size_t i = 0; i < picture.plane_size(); i++) {
    Hsv hsv = ToHsv(r[i], g[i], b[i]);
    hsv.h = static_cast<uint8_t>(hsv.h + turn);
    FromHsv(hsv, r[i], g[i], b[i]);
  }
}

void Autocontrast(Picture& picture) {
  for (size_t c = 0; c < kChannels; c++) {
    uint8_t* values = picture.plane(c);
    const auto [least, most] = std::minmax_element(values, values + picture.plane_size());
    if (least == values + picture.plane_size() || *most <= *least) continue;
    const double scale = 255.0 / (*most - *least), offset = -*least * scale;
    Apply(MakeTable([=](int i) { return std::clamp(static_cast<int>(i * scale + offset), 0, 255); }), values,
          picture.plane_size());
  }
}

void Equalize(Picture& picture) {
  for (size_t c = 0; c < kChannels; c++) {
    const Histogram histogram = Count(picture.plane(c), picture.plane_size());
    const auto last = std::find_if(histogram.rbegin(), histogram.rend(), [](int64_t n) { return n > 0; });
    if (last == histogram.rend()) continue;
    const int64_t step = (static_cast<int64_t>(picture.plane_size()) - *last) / 255;
    if (step == 0) continue;
    int64_t n = step / 2;
    Table table;
    for (size_t i = 0; i < 256; n += histogram[i++]) {
      table[i] = static_cast<uint8_t>(std::min<int64_t>(n / step, 255));
    }
    Apply(table, picture.plane(c), picture.plane_size());
  }
}

void Invert(Picture& picture) {
  Apply(MakeTable([](int i) { return 255 - i; }), picture);
}

void Posterize(Picture& picture, int bits) {
  const int mask = ~((1 << (8 - bits)) - 1);
  Apply(MakeTable([mask](int i) { return i & mask; }), picture);
}

void Solarize(Picture& picture, int threshold) {
  Apply(MakeTable([threshold](int i) { return i < threshold ? i : 255 - i; }), picture);
}

}  // namespace rn
