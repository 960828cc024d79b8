// Switches of the libraries that compute: they are part of libtorch's context, with or without CUDA.
#include "devices.h"

#include <ATen/Context.h>

namespace rn {

namespace {

struct Switch {
  bool (*get)();
  void (*set)(bool);
};

const Switch& Find(const Napi::Value& name) {
  static const std::unordered_map<std::string, Switch> switches = {
      {"cudnn.benchmark",
       {[] { return at::globalContext().benchmarkCuDNN(); },
        [](bool on) { at::globalContext().setBenchmarkCuDNN(on); }}},
      {"cudnn.deterministic",
       {[] { return at::globalContext().deterministicCuDNN(); },
        [](bool on) { at::globalContext().setDeterministicCuDNN(on); }}},
      {"cudnn.allowTf32",
       {[] { return at::globalContext().allowTF32CuDNN(); },
        [](bool on) { at::globalContext().setAllowTF32CuDNN(on); }}},
  };
  const auto found = switches.find(name.As<Napi::String>());
  if (found == switches.end()) throw TypeError("unknown switch");
  return found->second;
}

Napi::Value GetBackend(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(),
                 [&]() -> Napi::Value { return Napi::Boolean::New(info.Env(), Find(info[0]).get()); });
}

void SetBackend(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Find(info[0]).set(info[1].ToBoolean()); });
}

Napi::Value GetMatmulPrecision(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    switch (at::globalContext().float32MatmulPrecision()) {
      case at::Float32MatmulPrecision::HIGHEST:
        return Napi::String::New(info.Env(), "highest");
      case at::Float32MatmulPrecision::HIGH:
        return Napi::String::New(info.Env(), "high");
      default:
        return Napi::String::New(info.Env(), "medium");
    }
  });
}

void SetMatmulPrecision(const Napi::CallbackInfo& info) {
  Guarded(info.Env(),
          [&] { at::globalContext().setFloat32MatmulPrecision(info[0].As<Napi::String>().Utf8Value()); });
}

}  // namespace

void InitBackends(Napi::Env env, Napi::Object exports) {
  exports.Set("getBackend", Napi::Function::New(env, GetBackend, "getBackend"));
  exports.Set("setBackend", Napi::Function::New(env, SetBackend, "setBackend"));
  exports.Set("getMatmulPrecision", Napi::Function::New(env, GetMatmulPrecision, "getMatmulPrecision"));
  exports.Set("setMatmulPrecision", Napi::Function::New(env, SetMatmulPrecision, "setMatmulPrecision"));
}

}  // namespace rn
