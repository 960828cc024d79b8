#include "resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

// The baseline of x86-64 has no packed 32-bit multiplication, so the loops that matter are compiled twice.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define RN_X86 1
#define RN_FAST __attribute__((target_clones("avx2", "default")))
#include <smmintrin.h>
#else
#define RN_FAST
#endif

namespace rn {
namespace {

constexpr size_t kChannels = 3;
constexpr int kBits = 22;  // fraction bits of a weight: 8-bit pixels and negative lobes still fit in 32 bits
constexpr int32_t kHalf = 1 << (kBits - 1);

// For every output pixel: the first input pixel it is made of, how many, and their weights.
struct Weights {
  size_t most = 0;  // room for each pixel's weights
  std::vector<size_t> first, count;
  std::vector<int32_t> values;
};

// Cubic convolution (Keys 1981) with a = -1/2.
double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

Weights MakeWeights(size_t from, size_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);  // when reducing, the filter widens: antialiasing
  const double support = 2 * stretch;
  Weights weights;
  weights.most = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  weights.first.resize(to);
  weights.count.resize(to);
  weights.values.assign(to * weights.most, 0);
  std::vector<double> exact(weights.most);
  for (size_t i = 0; i < to; i++) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto low = static_cast<int64_t>(centre - support + 0.5);
    const auto high = static_cast<int64_t>(centre + support + 0.5);
    const size_t first = static_cast<size_t>(std::max<int64_t>(low, 0));
    const size_t count = static_cast<size_t>(std::min<int64_t>(high, static_cast<int64_t>(from))) - first;
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
      exact[k] = Cubic((static_cast<double>(k + first) - centre + 0.5) * (1 / stretch));
      sum += exact[k];
    }
    int32_t* values = &weights.values[i * weights.most];
    for (size_t k = 0; k < count; k++) {
      const double weight = (sum == 0 ? exact[k] : exact[k] / sum) * (1 << kBits);
      values[k] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    weights.first[i] = first;
    weights.count[i] = count;
  }
  return weights;
}

inline uint8_t Clip(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

using Across = void(const uint8_t* in, size_t rows, size_t stride, uint8_t* out, size_t plane,
                    const Weights&);

// `rows` rows, `stride` bytes apart, to another width, each channel to a plane of its own.
void AcrossPlain(const uint8_t* in, size_t rows, size_t stride, uint8_t* out, size_t plane,
                 const Weights& weights) {
  const size_t to_width = weights.first.size();
  for (size_t y = 0; y < rows; y++) {
    for (size_t i = 0; i < to_width; i++) {
      const uint8_t* pixel = in + y * stride + weights.first[i] * kChannels;
      const int32_t* weight = &weights.values[i * weights.most];
      int32_t sums[kChannels] = {kHalf, kHalf, kHalf};
      for (size_t k = 0; k < weights.count[i]; k++, pixel += kChannels) {
        for (size_t c = 0; c < kChannels; c++) sums[c] += pixel[c] * weight[k];
      }
      for (size_t c = 0; c < kChannels; c++) out[c * plane + y * to_width + i] = Clip(sums[c]);
    }
  }
}

#ifdef RN_X86
// The same, a pixel being four lanes: the fourth, the next pixel's red (hence the byte past the end of the
// picture), is ignored. Four rows at a time share the weights and keep the multipliers busy.
__attribute__((target("sse4.1"))) void AcrossSse(const uint8_t* in, size_t rows, size_t stride, uint8_t* out,
                                                 size_t plane, const Weights& weights) {
  constexpr size_t kTogether = 4;
  const size_t to_width = weights.first.size(), whole = rows - rows % kTogether;
  for (size_t y = 0; y < whole; y += kTogether) {
    for (size_t i = 0; i < to_width; i++) {
      const uint8_t* pixel = in + y * stride + weights.first[i] * kChannels;
      const int32_t* weight = &weights.values[i * weights.most];
      __m128i sums[kTogether];
      for (__m128i& sum : sums) sum = _mm_set1_epi32(kHalf);
      for (size_t k = 0; k < weights.count[i]; k++, pixel += kChannels) {
        const __m128i factor = _mm_set1_epi32(weight[k]);
        for (size_t r = 0; r < kTogether; r++) {
          int32_t four;
          std::memcpy(&four, pixel + r * stride, sizeof four);
          sums[r] =
              _mm_add_epi32(sums[r], _mm_mullo_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), factor));
        }
      }
      for (size_t r = 0; r < kTogether; r++) {
        const __m128i words = _mm_srai_epi32(sums[r], kBits);
        const __m128i clipped = _mm_packus_epi16(_mm_packs_epi32(words, words), words);
        const auto four = static_cast<uint32_t>(_mm_cvtsi128_si32(clipped));
        uint8_t* to = out + (y + r) * to_width + i;
        for (size_t c = 0; c < kChannels; c++) to[c * plane] = static_cast<uint8_t>(four >> 8 * c);
      }
    }
  }
  AcrossPlain(in + whole * stride, rows - whole, stride, out + whole * to_width, plane, weights);
}
#endif

Across* ChooseAcross() {
#ifdef RN_X86
  if (__builtin_cpu_supports("sse4.1")) return AcrossSse;
#endif
  return AcrossPlain;
}

// Weighted sum of `count` rows of `width` bytes, a block of columns at a time so that the sums stay in
// registers.
RN_FAST void BlendRows(const uint8_t* rows, size_t width, const int32_t* weights, size_t count,
                       uint8_t* out) {
  constexpr size_t kBlock = 32;
  size_t x = 0;
  for (; x + kBlock <= width; x += kBlock) {
    int32_t sums[kBlock];
    for (size_t i = 0; i < kBlock; i++) sums[i] = kHalf;
    for (size_t k = 0; k < count; k++) {
      const uint8_t* row = rows + k * width + x;
      for (size_t i = 0; i < kBlock; i++) sums[i] += row[i] * weights[k];
    }
    for (size_t i = 0; i < kBlock; i++) out[x + i] = Clip(sums[i]);
  }
  for (; x < width; x++) {
    int32_t sum = kHalf;
    for (size_t k = 0; k < count; k++) sum += rows[k * width + x] * weights[k];
    out[x] = Clip(sum);
  }
}

void ToPlanes(const uint8_t* rgb, size_t pixels, uint8_t* planes) {
  uint8_t *r = planes, *g = planes + pixels, *b = planes + 2 * pixels;
  for (size_t i = 0; i < pixels; i++, rgb += kChannels) {
    r[i] = rgb[0];
    g[i] = rgb[1];
    b[i] = rgb[2];
  }
}

}  // namespace

// Across first, then down, each rounded to bytes: that order and that rounding are PIL's.
void ResizeToPlanes(const uint8_t* rgb, size_t height, size_t width, uint8_t* planes, size_t to_height,
                    size_t to_width, ResizeBuffers& buffers) {
  const size_t plane = height * to_width;
  uint8_t* across = planes;
  if (height != to_height) {
    buffers.across.resize(kChannels * plane);
    across = buffers.across.data();
  }
  if (width == to_width) {
    ToPlanes(rgb, plane, across);
  } else {
    static Across* const resize = ChooseAcross();
    resize(rgb, height, width * kChannels, across, plane, MakeWeights(width, to_width));
  }
  if (height == to_height) return;
  const Weights weights = MakeWeights(height, to_height);
  for (size_t c = 0; c < kChannels; c++) {
    for (size_t y = 0; y < to_height; y++) {
      BlendRows(across + c * plane + weights.first[y] * to_width, to_width, &weights.values[y * weights.most],
                weights.count[y], planes + (c * to_height + y) * to_width);
    }
  }
}

}  // namespace rn
