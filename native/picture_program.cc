#include "picture_program.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace rn {
namespace {

enum Code {
  kResize = 1,
  kResizeShorter,
  kResizedCrop,
  kCentreCrop,
  kPadAndCrop,
  kMirror,
  kAffine,
  kBrightness,
  kContrast,
  kSaturation,
  kTurnHue,
  kSharpness,
  kAutocontrast,
  kEqualize,
  kInvert,
  kPosterize,
  kSolarize,
  kMix,
  kErase,
};

constexpr double kMaxSide = 16384;

class Reader {
 public:
  explicit Reader(const std::vector<double>& program) : at_(program.data()), end_(at_ + program.size()) {}
  bool done() const { return at_ == end_; }
  double Number(double low, double high) {
    if (at_ == end_) throw std::runtime_error("an image program ends within an operation");
    const double value = *at_++;
    if (!(value >= low && value <= high)) {
      throw std::runtime_error("a number of an image program is out of its range: " + std::to_string(value));
    }
    return value;
  }
  double Any() { return Number(-1e6, 1e6); }
  double Part() { return Number(0, 1); }
  int Integer(double low, double high) { return static_cast<int>(Number(low, high)); }
  size_t Side() { return static_cast<size_t>(Number(1, kMaxSide)); }

 private:
  const double* at_;
  const double* end_;
};

class Runner {
 public:
  Runner(const std::vector<double>& program, ProgramBuffers& buffers) : reader_(program), buffers_(buffers) {}

  std::vector<Patch> Run(const uint8_t* rgb, size_t height, size_t width) {
    rgb_ = rgb;
    buffers_.current.height = height;
    buffers_.current.width = width;
    while (!reader_.done()) Step();
    Planes();
    return std::move(patches_);
  }

 private:
  Picture& picture() { return buffers_.current; }

  // A decoded picture is interleaved, which is how resizing wants it; everything else works on planes. Both
  // bring it into that form, unless it has it.
  void Planes() {
    if (rgb_ == nullptr) return;
    picture().Shape(picture().height, picture().width);
    ResizeToPlanes(rgb_, picture().height, picture().width, picture().bytes.data(), picture().height,
                   picture().width, buffers_.resize);
    rgb_ = nullptr;
  }

  const uint8_t* Interleaved() {
    if (rgb_ != nullptr) return rgb_;
    const size_t pixels = picture().plane_size();
    buffers_.rgb.resize(kChannels * pixels + 1);
    for (size_t c = 0; c < kChannels; c++) {
      const uint8_t* in = picture().plane(c);
      for (size_t i = 0; i < pixels; i++) buffers_.rgb[kChannels * i + c] = in[i];
    }
    return buffers_.rgb.data();
  }

  void Resize(const uint8_t* rgb, size_t height, size_t width, size_t to_height, size_t to_width) {
    picture().Shape(to_height, to_width);
    ResizeToPlanes(rgb, height, width, picture().bytes.data(), to_height, to_width, buffers_.resize);
    rgb_ = nullptr;
  }

  void ResizeWhole(size_t to_height, size_t to_width) {
    const size_t height = picture().height, width = picture().width;
    if (height == to_height && width == to_width) return;
    Resize(Interleaved(), height, width, to_height, to_width);
  }

  void ResizeShorter(size_t side) {
    const size_t height = picture().height, width = picture().width;
    const size_t shorter = std::min(height, width), longer = std::max(height, width);
    const size_t other = side * longer / shorter;
    if (static_cast<double>(other) > kMaxSide) throw std::runtime_error("the picture is too long and thin");
    if (height <= width) {
      ResizeWhole(side, other);
    } else {
      ResizeWhole(other, side);
    }
  }

  // The first of the drawn shapes that fits, at (u, v) of the places it can have; if none does, the middle of
  // the picture, as large as the ratios allow.
  void ResizedCrop() {
    const size_t to_height = reader_.Side(), to_width = reader_.Side();
    const double low = reader_.Number(1e-6, 1e6), high = reader_.Number(1e-6, 1e6);
    const double u = reader_.Part(), v = reader_.Part();
    const size_t height = picture().height, width = picture().width;
    const double h = static_cast<double>(height), w = static_cast<double>(width);
    double crop_height = 0, crop_width = 0;
    bool found = false;
    for (int left = reader_.Integer(0, 1000); left > 0; left--) {
      const double area = reader_.Number(0, 1e6) * h * w, ratio = reader_.Number(1e-6, 1e6);
      const double one_width = std::nearbyint(std::sqrt(area * ratio));
      const double one_height = std::nearbyint(std::sqrt(area / ratio));
      if (found || one_width < 1 || one_width > w || one_height < 1 || one_height > h) continue;
      found = true;
      crop_width = one_width;
      crop_height = one_height;
    }
    if (!found) {
      crop_height = w / h < low ? std::nearbyint(w / low) : h;
      crop_width = w / h > high ? std::nearbyint(h * high) : w;
      crop_height = std::clamp(crop_height, 1.0, h);
      crop_width = std::clamp(crop_width, 1.0, w);
    }
    const double room_y = h - crop_height, room_x = w - crop_width;
    const double top = found ? std::min(std::floor(u * (room_y + 1)), room_y) : std::floor(room_y / 2);
    const double left = found ? std::min(std::floor(v * (room_x + 1)), room_x) : std::floor(room_x / 2);
    CropAndResize(static_cast<size_t>(top), static_cast<size_t>(left), static_cast<size_t>(crop_height),
                  static_cast<size_t>(crop_width), to_height, to_width);
  }

  void CropAndResize(size_t top, size_t left, size_t height, size_t width, size_t to_height,
                     size_t to_width) {
    const size_t stride = kChannels * picture().width, row = kChannels * width;
    const uint8_t* rgb = Interleaved() + top * stride + kChannels * left;
    std::vector<uint8_t> piece(height * row + 1);
    for (size_t y = 0; y < height; y++) std::memcpy(piece.data() + y * row, rgb + y * stride, row);
    Resize(piece.data(), height, width, to_height, to_width);
  }

  // What the picture lacks is added in black, half on either side.
  void CentreCrop(size_t height, size_t width) {
    auto start = [](size_t size, size_t want) {
      const auto spare = static_cast<double>(size) - static_cast<double>(want);
      return static_cast<int64_t>(spare < 0 ? std::ceil(spare / 2) : std::nearbyint(spare / 2));
    };
    Planes();
    // torchvision pads the left by half of what lacks, rounded down.
    PadAndCrop(picture(), 0, Padding::kConstant, start(picture().height, height),
               start(picture().width, width), height, width, buffers_.other);
    std::swap(buffers_.current, buffers_.other);
  }

  void Pad() {
    const int padding = reader_.Integer(0, kMaxSide);
    const auto mode = static_cast<Padding>(reader_.Integer(0, 3));
    const int top = reader_.Integer(0, kMaxSide), left = reader_.Integer(0, kMaxSide);
    const size_t height = reader_.Side(), width = reader_.Side();
    Planes();
    PadAndCrop(picture(), padding, mode, top, left, height, width, buffers_.other);
    std::swap(buffers_.current, buffers_.other);
  }

  void ApplyAffine() {
    const auto filter = static_cast<Filter>(reader_.Integer(0, 2));
    const auto fill = static_cast<uint8_t>(reader_.Integer(0, 255));
    const double centre_x = reader_.Any() * static_cast<double>(picture().width);
    const double centre_y = reader_.Any() * static_cast<double>(picture().height);
    Affine map;
    map.a = reader_.Any();
    map.b = reader_.Any();
    map.d = reader_.Any();
    map.e = reader_.Any();
    map.c = reader_.Any();
    map.f = reader_.Any();
    map.c += reader_.Any() * static_cast<double>(picture().width);
    map.f += reader_.Any() * static_cast<double>(picture().height);
    map.c += map.a * -centre_x + map.b * -centre_y + centre_x;
    map.f += map.d * -centre_x + map.e * -centre_y + centre_y;
    Planes();
    Transform(picture(), map, filter, fill, buffers_.other);
    std::swap(buffers_.current, buffers_.other);
  }

  // (1 - m) picture + m sum of w_i (picture after operation i), cut off to bytes.
  void Mix() {
    Planes();
    const auto part = static_cast<float>(reader_.Part());
    const Picture original = picture();
    std::vector<double> sum(original.bytes.size(), 0.0);
    for (int left = reader_.Integer(1, 100); left > 0; left--) {
      const auto weight = static_cast<float>(reader_.Part());
      picture() = original;
      const int steps = reader_.Integer(0, 100);
      for (int i = 0; i < steps; i++) Step();
      Planes();
      if (picture().bytes.size() != sum.size()) {
        throw std::runtime_error("pictures of different sizes cannot be mixed");
      }
      for (size_t i = 0; i < sum.size(); i++) {
        sum[i] += static_cast<double>(weight * static_cast<float>(picture().bytes[i]));
      }
    }
    for (size_t i = 0; i < sum.size(); i++) {
      const float kept = (1.0f - part) * static_cast<float>(original.bytes[i]);
      const double mixed = static_cast<double>(kept) + static_cast<double>(part) * sum[i];
      picture().bytes[i] = static_cast<uint8_t>(std::clamp(mixed, 0.0, 255.0));
    }
  }

  void Erase() {
    Patch patch;
    patch.top = static_cast<size_t>(reader_.Integer(0, kMaxSide));
    patch.left = static_cast<size_t>(reader_.Integer(0, kMaxSide));
    patch.height = reader_.Side();
    patch.width = reader_.Side();
    for (float& value : patch.colour) value = static_cast<float>(reader_.Any());
    if (patch.top + patch.height > picture().height || patch.left + patch.width > picture().width) {
      throw std::runtime_error("a rectangle to be erased reaches over the picture");
    }
    patches_.push_back(patch);
  }

  void Step() {
    const int code = reader_.Integer(kResize, kErase);
    const bool keeps_layout = code <= kResizedCrop || code == kErase;
    if (!keeps_layout) Planes();
    auto factor = [this] { return static_cast<float>(reader_.Any()); };
    switch (code) {
      case kResize: {
        const size_t height = reader_.Side();
        return ResizeWhole(height, reader_.Side());
      }
      case kResizeShorter:
        return ResizeShorter(reader_.Side());
      case kResizedCrop:
        return ResizedCrop();
      case kCentreCrop: {
        const size_t height = reader_.Side();
        return CentreCrop(height, reader_.Side());
      }
      case kPadAndCrop:
        return Pad();
      case kMirror:
        return MirrorInPlace(picture());
      case kAffine:
        return ApplyAffine();
      case kBrightness:
        return Brightness(picture(), factor());
      case kContrast:
        return Contrast(picture(), factor());
      case kSaturation:
        return Saturation(picture(), factor());
      case kTurnHue:
        return TurnHue(picture(), static_cast<uint8_t>(reader_.Integer(0, 255)));
      case kSharpness:
        return Sharpness(picture(), factor());
      case kAutocontrast:
        return Autocontrast(picture());
      case kEqualize:
        return Equalize(picture());
      case kInvert:
        return Invert(picture());
      case kPosterize:
        return Posterize(picture(), reader_.Integer(0, 8));
      case kSolarize:
        return Solarize(picture(), reader_.Integer(0, 256));
      case kMix:
        return Mix();
      default:
        return Erase();
    }
  }

  Reader reader_;
  ProgramBuffers& buffers_;
  const uint8_t* rgb_ = nullptr;
  std::vector<Patch> patches_;
};

}  // namespace

std::vector<Patch> RunProgram(const std::vector<double>& program, const uint8_t* rgb, size_t height,
                              size_t width, ProgramBuffers& buffers) {
  return Runner(program, buffers).Run(rgb, height, width);
}

}  // namespace rn
