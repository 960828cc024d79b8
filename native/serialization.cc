// A tensor's memory as bytes: what files are read into and written from, piece by piece.
#include "addon.h"
#include "env.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstring>

namespace rn {

namespace {

// allocateBytes(length) -> id of a uint8 CPU tensor whose content is left to the caller.
Napi::Value AllocateBytes(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto length = info[0].As<Napi::Number>().Int64Value();
    if (length < 0) throw TypeError("a length is not negative");
    return Napi::Number::New(
        info.Env(), PutTensor(info.Env(), at::empty({length}, at::TensorOptions().dtype(at::kByte))));
  });
}

// copyBytes(id, byteOffset, Uint8Array, intoTensor): as many bytes as the array has, between it and the
// elements of a contiguous CPU tensor as they lie in memory.
void CopyBytes(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    const auto offset = info[1].As<Napi::Number>().Int64Value();
    auto bytes = info[2].As<Napi::Uint8Array>();
    const auto length = static_cast<int64_t>(bytes.ByteLength());
    if (!tensor.is_cpu() || !tensor.is_contiguous()) throw TypeError("a contiguous CPU tensor is expected");
    const auto available = static_cast<int64_t>(tensor.nbytes());
    if (offset < 0 || offset > available || length > available - offset) {
      throw TypeError("the range lies outside the tensor");
    }
    if (length == 0) return;
    if (info[3].As<Napi::Boolean>()) {
      std::memcpy(static_cast<uint8_t*>(tensor.mutable_data_ptr()) + offset, bytes.Data(),
                  bytes.ByteLength());
    } else {
      std::memcpy(bytes.Data(), static_cast<const uint8_t*>(tensor.const_data_ptr()) + offset,
                  bytes.ByteLength());
    }
  });
}

}  // namespace

void InitSerialization(Napi::Env env, Napi::Object exports) {
  exports.Set("allocateBytes", Napi::Function::New(env, AllocateBytes, "allocateBytes"));
  exports.Set("copyBytes", Napi::Function::New(env, CopyBytes, "copyBytes"));
}

}  // namespace rn
