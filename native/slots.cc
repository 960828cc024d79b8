#include "env.h"

namespace rn {

namespace {
constexpr uint32_t kIndexMask = (1u << Slots::kIndexBits) - 1;
constexpr double kMaxId = 9007199254740991.0;  // 2^53 - 1
}  // namespace

double Slots::put(at::Tensor tensor) {
  uint32_t index;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    if (next_ > kIndexMask) {
      throw std::runtime_error(
          "16,777,216 tensors are alive at once: release some (scope, using, dispose()) before creating "
          "more");
    }
    index = next_++;
    if ((index >> kBlockBits) == blocks_.size()) blocks_.push_back(std::make_unique<Slot[]>(kBlock));
  }
  Slot& slot = at(index);
  slot.tensor = std::move(tensor);
  const double id = static_cast<double>((static_cast<uint64_t>(slot.generation) << kIndexBits) | index);
  if (depth_ > 0) {
    slot.owner = Owner::kScope;
    scoped_.push_back(id);
  } else {
    slot.owner = Owner::kKept;
  }
  ++live_;
  return id;
}

Slots::Slot* Slots::find(double id) const noexcept {
  if (!(id >= 1 && id <= kMaxId)) return nullptr;  // also false for NaN
  const auto bits = static_cast<uint64_t>(id);
  const auto index = static_cast<uint32_t>(bits) & kIndexMask;
  if (index >= next_) return nullptr;
  Slot& slot = at(index);
  if (slot.owner == Owner::kNone || slot.generation != static_cast<uint32_t>(bits >> kIndexBits))
    return nullptr;
  return &slot;
}

const at::Tensor& Slots::get(double id) const {
  const Slot* slot = find(id);
  if (slot == nullptr) {
    throw TypeError(
        "this Tensor has been released (disposed, or its scope has ended): return it from the scope or call "
        "keep() on it to hold it longer");
  }
  return slot->tensor;
}

void Slots::free(double id) noexcept {
  Slot* slot = find(id);
  if (slot == nullptr) return;
  slot->owner = Owner::kNone;
  slot->returned = false;
  --live_;
  // A slot whose generations are used up is never used again, so that no id ever means two tensors.
  if (slot->generation < kMaxGeneration) {
    ++slot->generation;
    free_.push_back(static_cast<uint32_t>(static_cast<uint64_t>(id)) & kIndexMask);
  }
  // Last: the destructor may come back here through a JavaScript-visible deleter.
  at::Tensor dying = std::move(slot->tensor);
  if (detaining_ && dying.defined() && dying.device().is_cpu()) detained_.push_back(std::move(dying));
}

void Slots::detain(bool detaining) {
  detaining_ = detaining;
  if (!detaining) std::vector<at::Tensor>().swap(detained_);
}

void Slots::clear() noexcept {
  scoped_.clear();
  depth_ = 0;
  for (uint32_t i = 0; i < next_; ++i) {
    Slot& slot = at(i);
    if (slot.owner == Owner::kNone) continue;
    slot.owner = Owner::kNone;
    slot.generation = std::min(slot.generation + 1, kMaxGeneration);
    at::Tensor dying = std::move(slot.tensor);
  }
  live_ = 0;
}

size_t Slots::openScope() {
  ++depth_;
  return scoped_.size();
}

void Slots::closeScope(size_t mark, const double* kept, size_t keptCount) {
  if (depth_ == 0 || mark > scoped_.size()) throw TypeError("scopes must be closed innermost first");
  --depth_;
  for (size_t i = 0; i < keptCount; ++i) {
    if (Slot* slot = find(kept[i])) slot->returned = true;
  }
  size_t end = mark;
  for (size_t i = mark; i < scoped_.size(); ++i) {
    const double id = scoped_[i];
    Slot* slot = find(id);
    if (slot == nullptr || slot->owner != Owner::kScope) continue;
    if (!slot->returned) {
      free(id);
    } else if (depth_ == 0) {
      slot->owner = Owner::kKept;
    } else {
      scoped_[end++] = id;  // the enclosing scope owns it from here
    }
  }
  scoped_.resize(end);
  for (size_t i = 0; i < keptCount; ++i) {
    if (Slot* slot = find(kept[i])) slot->returned = false;
  }
}

void Slots::keep(double id) {
  get(id);
  find(id)->owner = Owner::kKept;
}

void Slots::ids(std::vector<double>* out) const {
  for (uint32_t i = 0; i < next_; ++i) {
    const Slot& slot = at(i);
    if (slot.owner == Owner::kNone) continue;
    out->push_back(static_cast<double>((static_cast<uint64_t>(slot.generation) << kIndexBits) | i));
  }
}

}  // namespace rn
