// Whether tensors lie alike in memory. The fused optimizer kernels walk through parameter, gradient and
// state element by element in memory order, without looking at strides.
#include "addon.h"
#include "env.h"

namespace rn {

namespace {

bool SameLayout(const at::Tensor& a, const at::Tensor& b) {
  if (b.layout() != at::kStrided) throw TypeError("a gradient is sparse; this optimizer needs dense ones");
  if (a.sizes() != b.sizes()) return false;
  for (int64_t d = 0; d < a.dim(); ++d) {
    if (a.size(d) > 1 && a.stride(d) != b.stride(d)) return false;
  }
  return true;
}

// unlikeLayouts(ids[], others: ids[][]) -> [list, position, list, position, …] of the tensors in `others`
// that do not lie as the one at the same position of `ids`; list −1: that one itself has gaps or overlaps.
Napi::Value UnlikeLayouts(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    if (!info[0].IsArray() || !info[1].IsArray())
      throw TypeError("unlikeLayouts needs an array and an array of arrays");
    const auto ids = info[0].As<Napi::Array>();
    const auto others = info[1].As<Napi::Array>();
    Napi::Array result = Napi::Array::New(env);
    uint32_t count = 0;
    const auto report = [&](int list, uint32_t position) {
      result.Set(count++, list);
      result.Set(count++, position);
    };
    for (uint32_t i = 0; i < ids.Length(); ++i) {
      if (!GetTensor(env, Napi::Value(ids[i])).is_non_overlapping_and_dense()) report(-1, i);
    }
    for (uint32_t k = 0; k < others.Length(); ++k) {
      const Napi::Value list = others[k];
      if (!list.IsArray() || list.As<Napi::Array>().Length() != ids.Length()) {
        throw TypeError("unlikeLayouts: lists of different lengths");
      }
      for (uint32_t i = 0; i < ids.Length(); ++i) {
        const at::Tensor& like = GetTensor(env, Napi::Value(ids[i]));
        if (!SameLayout(like, GetTensor(env, Napi::Value(list.As<Napi::Array>()[i]))))
          report(static_cast<int>(k), i);
      }
    }
    return result;
  });
}

}  // namespace

void InitLayout(Napi::Env env, Napi::Object exports) {
  exports.Set("unlikeLayouts", Napi::Function::New(env, UnlikeLayouts, "unlikeLayouts"));
}

}  // namespace rn
