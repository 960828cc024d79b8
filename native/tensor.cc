// What a tensor is, and its data in and out. Everything that is an ATen operator goes through operators.cc.
#include "addon.h"
#include "env.h"

#include <ATen/Functions.h>
#include <ATen/Tensor.h>
#include <c10/core/ScalarType.h>

namespace rn {

namespace {

// info(): values[0] holds an id; writes dtype, device, flags, dim, sizes, strides.
napi_value Info(napi_env env, napi_callback_info) {
  EnvData& data = *Current();
  return Guarded(env, [&]() -> napi_value {
    Exchange& x = data.exchange;
    const at::Tensor& tensor = data.slots.get(x.values[0]);
    const bool strided = tensor.layout() == c10::kStrided;
    x.values[0] = static_cast<double>(static_cast<int>(tensor.scalar_type()));
    x.values[1] = static_cast<double>(static_cast<int>(tensor.device().type()));
    x.values[2] = tensor.device().has_index() ? tensor.device().index() : -1;
    x.values[3] = (tensor.requires_grad() ? 1 : 0) | (tensor.is_leaf() ? 2 : 0) |
                  (strided && tensor.is_contiguous() ? 4 : 0) | (strided ? 8 : 0);
    const auto sizes = tensor.sizes();
    x.values[4] = static_cast<double>(sizes.size());
    for (size_t i = 0; i < sizes.size(); ++i) {
      x.values[5 + 2 * i] = static_cast<double>(sizes[i]);
      x.values[6 + 2 * i] = strided ? static_cast<double>(tensor.stride(static_cast<int64_t>(i))) : 0;
    }
    return nullptr;
  });
}

c10::ScalarType ScalarTypeArgument(const Napi::Value& value) {
  const int32_t code = value.As<Napi::Number>().Int32Value();
  if (code < 0 || code >= static_cast<int>(c10::ScalarType::Undefined)) throw TypeError("unknown dtype");
  return static_cast<c10::ScalarType>(code);
}

// fromBuffer(ArrayBuffer, byteOffset, byteLength, dtype, shape, copy) -> id
Napi::Value FromBuffer(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    EnvData* data = Current();
    void* memory = nullptr;
    size_t available = 0;
    if (info[0].IsArrayBuffer()) {
      auto buffer = info[0].As<Napi::ArrayBuffer>();
      memory = buffer.Data();
      available = buffer.ByteLength();
    } else {
      throw TypeError("an ArrayBuffer is expected");
    }
    const auto offset = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
    const auto length = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
    const c10::ScalarType dtype = ScalarTypeArgument(info[3]);
    const auto shapeArray = info[4].As<Napi::Array>();
    const bool copy = info[5].As<Napi::Boolean>();
    if (offset > available || length > available - offset)
      throw TypeError("the range lies outside the buffer");
    std::vector<int64_t> shape(shapeArray.Length());
    size_t bytes = c10::elementSize(dtype);
    for (size_t i = 0; i < shape.size(); ++i) {
      const double size = Napi::Value(shapeArray[static_cast<uint32_t>(i)]).As<Napi::Number>().DoubleValue();
      if (!(size >= 0 && size <= 9007199254740991.0) ||
          size != static_cast<double>(static_cast<int64_t>(size))) {
        throw TypeError("a shape holds non-negative integers");
      }
      shape[i] = static_cast<int64_t>(size);
      if (__builtin_mul_overflow(bytes, static_cast<size_t>(shape[i]), &bytes))
        throw TypeError("the shape is too large");
    }
    if (bytes != length) {
      throw TypeError("the shape needs " + std::to_string(bytes) + " bytes but " + std::to_string(length) +
                      " are given");
    }
    auto* start = static_cast<uint8_t*>(memory) + offset;
    const auto options = at::TensorOptions().dtype(dtype);
    at::Tensor tensor;
    if (copy || length == 0) {
      tensor = at::empty(shape, options);
      if (length > 0) std::memcpy(tensor.mutable_data_ptr(), start, length);
    } else {
      if (reinterpret_cast<uintptr_t>(start) % c10::elementSize(dtype) != 0) {
        throw TypeError("the buffer is not aligned to its element size: copy it");
      }
      napi_ref hold;
      Check(napi_create_reference(info.Env(), info[0], 1, &hold));
      tensor = at::from_blob(
          start, shape, [data, hold](void*) { data->retire(hold); }, options);
    }
    return Napi::Number::New(info.Env(), data->slots.put(std::move(tensor)));
  });
}

// readBytes(id, ArrayBuffer): copies the elements, row-major, as they lie in memory.
void ReadBytes(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& source = GetTensor(info.Env(), info[0]);
    auto buffer = info[1].As<Napi::ArrayBuffer>();
    if (source.layout() != c10::kStrided)
      throw TypeError("a sparse tensor has no plain elements: use to_dense()");
    const at::Tensor tensor = source.detach().resolve_conj().resolve_neg().cpu().contiguous();
    if (buffer.ByteLength() != tensor.nbytes()) throw TypeError("the buffer has the wrong size");
    if (tensor.nbytes() > 0) std::memcpy(buffer.Data(), tensor.const_data_ptr(), tensor.nbytes());
  });
}

// storage(id) -> [key, bytes, offset in elements]: which memory a tensor shares with which.
Napi::Value Storage(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    if (tensor.layout() != c10::kStrided) throw TypeError("only strided tensors have a storage");
    Napi::Array result = Napi::Array::New(info.Env(), 3);
    const auto* key = tensor.storage().unsafeGetStorageImpl();
    result.Set(0u, static_cast<double>(reinterpret_cast<uintptr_t>(key)));
    result.Set(1u, static_cast<double>(tensor.storage().nbytes()));
    result.Set(2u, static_cast<double>(tensor.storage_offset()));
    return result;
  });
}

// asStorageView(id of a uint8 tensor, dtype, offset, sizes, strides) -> id of a view of the same memory.
Napi::Value AsStorageView(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& bytes = GetTensor(info.Env(), info[0]);
    const c10::ScalarType dtype = ScalarTypeArgument(info[1]);
    const int64_t offset = info[2].As<Napi::Number>().Int64Value();
    const auto list = [&](size_t at) {
      const auto array = info[at].As<Napi::Array>();
      std::vector<int64_t> result(array.Length());
      for (size_t i = 0; i < result.size(); ++i) {
        result[i] = Napi::Value(array[static_cast<uint32_t>(i)]).As<Napi::Number>().Int64Value();
      }
      return result;
    };
    const auto sizes = list(3);
    const auto strides = list(4);
    if (sizes.size() != strides.size() || offset < 0)
      throw TypeError("sizes and strides do not belong together");
    int64_t last = offset;
    bool empty = false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] < 0 || strides[i] < 0) throw TypeError("sizes and strides must not be negative");
      if (sizes[i] == 0) {
        empty = true;
        continue;
      }
      int64_t step;
      if (__builtin_mul_overflow(sizes[i] - 1, strides[i], &step) ||
          __builtin_add_overflow(last, step, &last)) {
        throw TypeError("the view lies outside its storage");
      }
    }
    const auto capacity = static_cast<int64_t>(bytes.storage().nbytes() / c10::elementSize(dtype));
    if (!empty && last >= capacity) {
      throw TypeError("the view needs " + std::to_string(last + 1) + " elements but its storage holds " +
                      std::to_string(capacity));
    }
    at::Tensor view = at::empty({0}, bytes.options().dtype(dtype));
    view.set_(bytes.storage(), empty ? 0 : offset, sizes, strides);
    return Napi::Number::New(info.Env(), Current()->slots.put(std::move(view)));
  });
}

Napi::Value SetData(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    GetTensor(info.Env(), info[0]).set_data(GetTensor(info.Env(), info[1]));
    return info.Env().Undefined();
  });
}

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  napi_value function;
  napi_create_function(env, "info", NAPI_AUTO_LENGTH, Info, nullptr, &function);
  exports.Set("info", Napi::Value(env, function));
  exports.Set("fromBuffer", Napi::Function::New(env, FromBuffer, "fromBuffer"));
  exports.Set("readBytes", Napi::Function::New(env, ReadBytes, "readBytes"));
  exports.Set("storage", Napi::Function::New(env, Storage, "storage"));
  exports.Set("asStorageView", Napi::Function::New(env, AsStorageView, "asStorageView"));
  exports.Set("setData", Napi::Function::New(env, SetData, "setData"));
}

}  // namespace rn
