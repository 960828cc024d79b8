// The library as a whole: version, devices, threads, random generators.
#include "addon.h"
#include "env.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/version.h>

namespace rn {

namespace {

Napi::Value Version(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), TORCH_VERSION); }

Napi::Value DeviceInfo(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Object result = Napi::Object::New(info.Env());
    int64_t count = 0;
    try {
      if (at::hasCUDA()) count = at::detail::getCUDAHooks().deviceCount();
    } catch (const std::exception&) {
      count = 0;  // no driver
    }
#ifdef RN_LINKS_CUDA
    result.Set("cudaBuilt", true);
#else
    result.Set("cudaBuilt", false);
#endif
    result.Set("cudaDevices", static_cast<double>(count));
    result.Set("cpuCapability", at::get_cpu_capability());
#ifdef RN_HAVE_JPEG
    result.Set("jpeg", true);
#else
    result.Set("jpeg", false);
#endif
    return result;
  });
}

Napi::Value GetNumThreads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), at::get_num_threads());
}

void SetNumThreads(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const double count = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
    if (!(count >= 1 && count <= 4096) || count != static_cast<int>(count)) {
      throw TypeError("setNumThreads needs a positive integer");
    }
    at::set_num_threads(static_cast<int>(count));
  });
}

c10::Device DeviceArgument(const Napi::Value& value) {
  if (!value.IsString()) throw TypeError("a device name is expected");
  return c10::Device(value.As<Napi::String>().Utf8Value());
}

const at::Generator& GeneratorArgument(const Napi::Value& value) {
  const auto& generators = Current()->generators;
  const auto found =
      value.IsNumber() ? generators.find(value.As<Napi::Number>().Int32Value()) : generators.end();
  if (found == generators.end()) throw TypeError("this Generator has been released");
  return found->second;
}

uint64_t SeedArgument(const Napi::Value& value) {
  if (value.IsBigInt()) {
    bool lossless = true;
    const auto seed = value.As<Napi::BigInt>().Uint64Value(&lossless);
    if (lossless) return seed;
    const auto negative = value.As<Napi::BigInt>().Int64Value(&lossless);
    if (lossless) return static_cast<uint64_t>(negative);
    throw TypeError("a seed has 64 bits");
  }
  const double seed = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0.5;
  if (seed != static_cast<double>(static_cast<int64_t>(seed))) throw TypeError("a seed is an integer");
  return static_cast<uint64_t>(static_cast<int64_t>(seed));
}

Napi::Value AddGenerator(Napi::Env env, at::Generator generator) {
  EnvData& data = *Current();
  const int32_t id = data.nextGenerator++;
  data.generators.emplace(id, std::move(generator));
  return Napi::Number::New(env, id);
}

// newGenerator(device) -> id; its seed is PyTorch's default seed until it is set.
Napi::Value NewGenerator(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const c10::Device device = DeviceArgument(info[0]);
    if (device.is_cpu()) return AddGenerator(info.Env(), at::detail::createCPUGenerator());
    return AddGenerator(info.Env(), at::globalContext()
                                        .getAcceleratorHooksInterface(device.type())
                                        .getNewGenerator(device.index()));  // -1 is the current one
  });
}

Napi::Value DefaultGenerator(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return AddGenerator(info.Env(), at::globalContext().defaultGenerator(DeviceArgument(info[0])));
  });
}

void FreeGenerator(const Napi::CallbackInfo& info) {
  Current()->generators.erase(info[0].As<Napi::Number>().Int32Value());
}

void GeneratorSeed(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    at::Generator generator = GeneratorArgument(info[0]);
    const uint64_t seed = SeedArgument(info[1]);
    std::lock_guard lock(generator.mutex());
    generator.set_current_seed(seed);
  });
}

Napi::Value GeneratorInitialSeed(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::BigInt::New(info.Env(), GeneratorArgument(info[0]).current_seed());
  });
}

Napi::Value GeneratorGetState(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    at::Generator generator = GeneratorArgument(info[0]);
    std::lock_guard lock(generator.mutex());
    return Napi::Number::New(info.Env(), Current()->slots.put(generator.get_state()));
  });
}

void GeneratorSetState(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    at::Generator generator = GeneratorArgument(info[0]);
    const at::Tensor& state = GetTensor(info.Env(), info[1]);
    std::lock_guard lock(generator.mutex());
    generator.set_state(state);
  });
}

// manualSeed(seed): the default generators of every device.
void ManualSeed(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const uint64_t seed = SeedArgument(info[0]);
    at::Generator cpu = at::globalContext().defaultGenerator(c10::DeviceType::CPU);
    {
      std::lock_guard lock(cpu.mutex());
      cpu.set_current_seed(seed);
    }
    if (!at::hasCUDA()) return;
    try {
      const auto count = at::detail::getCUDAHooks().deviceCount();
      for (int i = 0; i < count; ++i) {
        at::Generator cuda =
            at::globalContext().defaultGenerator({c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(i)});
        std::lock_guard lock(cuda.mutex());
        cuda.set_current_seed(seed);
      }
    } catch (const c10::Error&) {
      // a CUDA libtorch on a machine without a driver
    }
  });
}

}  // namespace

void InitContext(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("version", Version);
  add("deviceInfo", DeviceInfo);
  add("getNumThreads", GetNumThreads);
  add("setNumThreads", SetNumThreads);
  add("newGenerator", NewGenerator);
  add("defaultGenerator", DefaultGenerator);
  add("freeGenerator", FreeGenerator);
  add("generatorSeed", GeneratorSeed);
  add("generatorInitialSeed", GeneratorInitialSeed);
  add("generatorGetState", GeneratorGetState);
  add("generatorSetState", GeneratorSetState);
  add("manualSeed", ManualSeed);
}

}  // namespace rn
