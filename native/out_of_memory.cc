// What there is to say when memory runs out: who holds it.
#include "devices.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <tuple>
#include <unordered_set>

namespace rn {

namespace {

std::string Size(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  for (; bytes >= 1024 && unit < 4; ++unit) bytes /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

std::string Describe(const at::Tensor& tensor) {
  std::string text = std::string(c10::toString(tensor.scalar_type())) + "[";
  for (int64_t d = 0; d < tensor.dim(); ++d) text += (d == 0 ? "" : ", ") + std::to_string(tensor.size(d));
  return text + "]";
}

}  // namespace

bool IsOutOfMemory(const c10::Error& error) {
  // libtorch has a type of its own for its allocator on devices only; libraries and the driver allocate too.
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return true;
  for (const char* words :
       {"can't allocate memory", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED", "_ALLOCATION_FAILED"}) {
    if (error.msg().find(words) != std::string::npos) return true;
  }
  return false;
}

std::string WhoHoldsMemory(EnvData& data) {
  struct Held {
    size_t tensors = 0;
    double bytes = 0;
    std::vector<std::pair<double, std::string>> each;
  };
  std::map<std::string, Held> devices;
  std::unordered_set<const void*> seen;
  std::vector<double> ids;
  data.slots.ids(&ids);
  for (const double id : ids) {
    const at::Tensor& tensor = data.slots.get(id);
    if (!tensor.defined() || !tensor.has_storage()) continue;
    Held& held = devices[tensor.device().str()];
    ++held.tensors;
    // Views share one memory: the first speaks for all.
    if (!seen.insert(tensor.storage().unsafeGetStorageImpl()).second) continue;
    const auto bytes = static_cast<double>(tensor.storage().nbytes());
    held.bytes += bytes;
    held.each.emplace_back(bytes, Describe(tensor));
  }
  std::string text;
  for (auto& [device, held] : devices) {
    std::sort(held.each.begin(), held.each.end(), std::greater<>());
    text += "\nJavaScript holds " + std::to_string(held.tensors) + " tensors of " + Size(held.bytes) +
            " on " + device;
    const size_t shown = std::min<size_t>(held.each.size(), 5);
    for (size_t i = 0; i < shown; ++i) {
      text += (i == 0 ? ", the largest " : ", ") + Size(held.each[i].first) + " " + held.each[i].second;
    }
  }
  return text +
         "\ntorch.trackAllocations(true) and torch.liveTensors() tell where they were made; what autograd "
         "saved for backward is not counted here";
}

}  // namespace rn
