// Autocast: while it is on, operators choose the precision they compute in.
#include "addon.h"
#include "env.h"

#include <ATen/autocast_mode.h>

namespace rn {

namespace {

c10::DeviceType TypeArgument(const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "cpu") return c10::DeviceType::CPU;
  if (name == "cuda") return c10::DeviceType::CUDA;
  throw TypeError("autocast knows the device types 'cpu' and 'cuda', not '" + name + "'");
}

Napi::Value State(Napi::Env env, c10::DeviceType type) {
  Napi::Array state = Napi::Array::New(env, 3);
  state.Set(0u, Napi::Boolean::New(env, at::autocast::is_autocast_enabled(type)));
  state.Set(1u, static_cast<double>(at::autocast::get_autocast_dtype(type)));
  state.Set(2u, Napi::Boolean::New(env, at::autocast::is_autocast_cache_enabled()));
  return state;
}

void SetState(const Napi::CallbackInfo& info, c10::DeviceType type) {
  at::autocast::set_autocast_enabled(type, info[1].ToBoolean());
  at::autocast::set_autocast_dtype(type,
                                   static_cast<at::ScalarType>(info[2].As<Napi::Number>().Int32Value()));
  at::autocast::set_autocast_cache_enabled(info[3].ToBoolean());
}

// autocastState(type) -> [enabled, dtype, cache]
Napi::Value AutocastState(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value { return State(info.Env(), TypeArgument(info[0])); });
}

// enterAutocast(type, enabled, dtype, cache)
void EnterAutocast(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    SetState(info, TypeArgument(info[0]));
    at::autocast::increment_nesting();
  });
}

// exitAutocast(type, enabled, dtype, cache): the state before. The outermost exit drops the cast weights.
void ExitAutocast(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    SetState(info, TypeArgument(info[0]));
  });
}

}  // namespace

void InitAutocast(Napi::Env env, Napi::Object exports) {
  exports.Set("autocastState", Napi::Function::New(env, AutocastState, "autocastState"));
  exports.Set("enterAutocast", Napi::Function::New(env, EnterAutocast, "enterAutocast"));
  exports.Set("exitAutocast", Napi::Function::New(env, ExitAutocast, "exitAutocast"));
}

}  // namespace rn
