// Scopes, finalizers and the exchange buffer. Hot functions are raw N-API and take no arguments where the
// exchange buffer can carry them.
#include "addon.h"
#include "env.h"

namespace rn {

namespace {

void ReleaseExternal(node_api_basic_env, void* id, void* data) {
  // Runs inside the garbage collector: only note the id.
  static_cast<EnvData*>(data)->retire(static_cast<double>(reinterpret_cast<uintptr_t>(id)));
}

// guard(id) -> a value that frees the tensor once V8 has collected it.
napi_value Guard(napi_env env, napi_callback_info info) {
  EnvData& data = *Current();
  size_t argc = 1;
  napi_value argument;
  double id = 0;
  napi_value external = nullptr;
  napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr);
  if (napi_get_value_double(env, argument, &id) != napi_ok || !data.slots.alive(id)) {
    napi_throw_type_error(env, nullptr, "this Tensor has been released");
    return nullptr;
  }
  data.drain();
  data.reportMemory(data.slots.get(id));
  const auto bits = static_cast<uintptr_t>(id);
  napi_create_external(env, reinterpret_cast<void*>(bits), ReleaseExternal, &data, &external);
  return external;
}

napi_value ScopeOpen(napi_env env, napi_callback_info) {
  napi_value mark;
  napi_create_uint32(env, static_cast<uint32_t>(Current()->slots.openScope()), &mark);
  return mark;
}

// scopeClose(mark): header[1] ids of what is kept lie in values[0...].
napi_value ScopeClose(napi_env env, napi_callback_info info) {
  EnvData& data = *Current();
  size_t argc = 1;
  napi_value argument;
  uint32_t mark = 0;
  napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr);
  napi_get_value_uint32(env, argument, &mark);
  return Guarded(env, [&]() -> napi_value {
    const auto kept = static_cast<size_t>(data.exchange.header[1]);
    if (kept > Exchange::kCapacity) throw TypeError("too many tensors are returned from a scope");
    data.slots.closeScope(mark, data.exchange.values, kept);
    data.drain();
    return nullptr;
  });
}

napi_value Keep(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argument;
  double id = 0;
  napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr);
  napi_get_value_double(env, argument, &id);
  return Guarded(env, [&]() -> napi_value {
    Current()->slots.keep(id);
    return nullptr;
  });
}

napi_value Dispose(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argument;
  double id = 0;
  napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr);
  napi_get_value_double(env, argument, &id);
  Current()->slots.free(id);
  return nullptr;
}

napi_value Alive(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argument;
  double id = 0;
  napi_value result;
  napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr);
  napi_get_value_double(env, argument, &id);
  napi_get_boolean(env, Current()->slots.alive(id), &result);
  return result;
}

Napi::Value LiveIds(const Napi::CallbackInfo& info) {
  Current()->drain();
  std::vector<double> ids;
  Current()->slots.ids(&ids);
  Napi::Array result = Napi::Array::New(info.Env(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) result.Set(static_cast<uint32_t>(i), ids[i]);
  return result;
}

Napi::Value MemoryStats(const Napi::CallbackInfo& info) {
  Current()->drain();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("liveTensors", static_cast<double>(Current()->slots.size()));
  result.Set("liveBytes", static_cast<double>(LiveCpuBytes()));
  result.Set("peakBytes", static_cast<double>(PeakCpuBytes()));
  return result;
}

void ResetPeak(const Napi::CallbackInfo&) { ResetPeakCpuBytes(); }

// attach(buffer): the ArrayBuffer that carries operator calls. Its memory does not move; we hold it.
void Attach(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    auto buffer = info[0].As<Napi::ArrayBuffer>();
    if (!info[0].IsArrayBuffer() || buffer.ByteLength() < Exchange::kBytes)
      throw TypeError("wrong exchange buffer");
    auto* bytes = static_cast<uint8_t*>(buffer.Data());
    Exchange& x = Current()->exchange;
    x.header = reinterpret_cast<int32_t*>(bytes);
    x.tags = bytes + Exchange::kHeaderBytes;
    x.values = reinterpret_cast<double*>(bytes + Exchange::kHeaderBytes + Exchange::kCapacity);
    napi_ref forever;
    napi_create_reference(info.Env(), buffer, 1, &forever);
  });
}

void Raw(Napi::Env env, Napi::Object exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  exports.Set(name, Napi::Value(env, function));
}

}  // namespace

void InitMemory(Napi::Env env, Napi::Object exports) {
  Raw(env, exports, "guard", Guard);
  Raw(env, exports, "scopeOpen", ScopeOpen);
  Raw(env, exports, "scopeClose", ScopeClose);
  Raw(env, exports, "keep", Keep);
  Raw(env, exports, "dispose", Dispose);
  Raw(env, exports, "alive", Alive);
  exports.Set("liveIds", Napi::Function::New(env, LiveIds, "liveIds"));
  exports.Set("memoryStats", Napi::Function::New(env, MemoryStats, "memoryStats"));
  exports.Set("resetPeak", Napi::Function::New(env, ResetPeak, "resetPeak"));
  exports.Set("attach", Napi::Function::New(env, Attach, "attach"));
  exports.Set("exchangeCapacity", static_cast<double>(Exchange::kCapacity));
  exports.Set("exchangeBytes", static_cast<double>(Exchange::kBytes));
}

}  // namespace rn
