// A tensor's memory as JavaScript bytes: files are read into it and written from it without a copy.
#include "addon.h"
#include "env.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace rn {

namespace {

// borrowBytes(id, byteOffset, byteLength) -> ArrayBuffer over the tensor's own memory. Nothing keeps the memory
// alive: the caller holds the tensor until releaseBytes has detached the buffer.
Napi::Value BorrowBytes(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    const auto offset = info[1].As<Napi::Number>().Int64Value();
    const auto length = info[2].As<Napi::Number>().Int64Value();
    if (!tensor.is_cpu() || !tensor.is_contiguous()) throw TypeError("only contiguous CPU memory can be lent");
    const auto available = static_cast<int64_t>(tensor.nbytes());
    if (offset < 0 || length <= 0 || offset > available || length > available - offset) {
      throw TypeError("the range lies outside the tensor");
    }
    napi_value buffer;
    Check(napi_create_external_arraybuffer(info.Env(), static_cast<uint8_t*>(tensor.mutable_data_ptr()) + offset,
                                           static_cast<size_t>(length), nullptr, nullptr, &buffer));
    return Napi::Value(info.Env(), buffer);
  });
}

// allocateBytes(length) -> id of a uint8 CPU tensor whose content is left to the caller.
Napi::Value AllocateBytes(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto length = info[0].As<Napi::Number>().Int64Value();
    if (length < 0) throw TypeError("a length is not negative");
    return Napi::Number::New(info.Env(), PutTensor(info.Env(), at::empty({length}, at::TensorOptions().dtype(at::kByte))));
  });
}

// releaseBytes(ArrayBuffer): from now on it is empty.
void ReleaseBytes(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Check(napi_detach_arraybuffer(info.Env(), info[0])); });
}

}  // namespace

void InitSerialization(Napi::Env env, Napi::Object exports) {
  exports.Set("allocateBytes", Napi::Function::New(env, AllocateBytes, "allocateBytes"));
  exports.Set("borrowBytes", Napi::Function::New(env, BorrowBytes, "borrowBytes"));
  exports.Set("releaseBytes", Napi::Function::New(env, ReleaseBytes, "releaseBytes"));
}

}  // namespace rn
