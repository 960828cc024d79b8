// libtorch's profiler (Kineto): operators, memory and kernels between two points, and ranges with names of
// ours.
#include "addon.h"
#include "env.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/record_function.h>
#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>

namespace rn {

namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

// The profiler is one for the process, whichever environment uses it.
std::atomic<bool> running{false};

// Ranges that are open on this thread, the outermost first.
thread_local std::vector<std::unique_ptr<at::RecordFunction>> ranges;

bool HasCuda() {
  try {
    return at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
  } catch (const c10::Error&) {
    return false;  // no driver
  }
}

// What devices are still doing belongs to the recording.
void WaitForDevices() {
  if (!HasCuda()) return;
  const auto& cuda = at::detail::getCUDAHooks();
  for (int i = 0; i < cuda.deviceCount(); ++i) {
    const auto device = static_cast<c10::DeviceIndex>(i);
    if (cuda.hasPrimaryContext(device)) cuda.deviceSynchronize(device);
  }
}

// What Kineto notes for itself, and what libtorch's own tables leave out.
bool IsInternal(const profiler::KinetoEvent& event) {
  return event.isHiddenEvent() ||
         event.activityType() == static_cast<uint8_t>(libkineto::ActivityType::OVERHEAD);
}

// A range with a name; on a device, the time from the first to the last kernel that was launched in it.
bool IsAnnotation(const profiler::KinetoEvent& event) {
  const auto type = static_cast<libkineto::ActivityType>(event.activityType());
  return type == libkineto::ActivityType::USER_ANNOTATION ||
         type == libkineto::ActivityType::GPU_USER_ANNOTATION;
}

// startProfiler(memory, shapes)
void StartProfiler(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    if (running.exchange(true)) throw TypeError("a profile is being recorded already");
    try {
      const ProfilerConfig config(ProfilerState::KINETO, /*report_input_shapes=*/info[1].ToBoolean(),
                                  /*profile_memory=*/info[0].ToBoolean());
      std::set<ActivityType> activities{ActivityType::CPU};
      if (HasCuda()) activities.insert(ActivityType::CUDA);
      profiler::prepareProfiler(config, activities);
      profiler::enableProfiler(config, activities);
    } catch (...) {
      running = false;
      throw;
    }
  });
}

// Numbers of an event, in the order in which src/torch/profiler.ts reads them.
constexpr size_t kFields = 9;

// stopProfiler(path | undefined) -> [names, numbers]; writes the trace to `path`
Napi::Value StopProfiler(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    if (!running) throw TypeError("no profile is being recorded");
    ranges.clear();
    std::exception_ptr failed;
    try {
      WaitForDevices();
    } catch (...) {
      failed = std::current_exception();
    }
    const auto result = profiler::disableProfiler();
    running = false;
    if (failed) std::rethrow_exception(failed);
    if (info[0].IsString()) result->save(info[0].As<Napi::String>().Utf8Value());
    Napi::Env env = info.Env();
    std::vector<const profiler::KinetoEvent*> events;
    for (const auto& event : result->events()) {
      if (!IsInternal(event)) events.push_back(&event);
    }
    Napi::Array names = Napi::Array::New(env, events.size());
    Napi::Float64Array numbers = Napi::Float64Array::New(env, events.size() * kFields);
    const uint64_t start = result->trace_start_ns();
    for (size_t i = 0; i < events.size(); ++i) {
      const auto& event = *events[i];
      names.Set(static_cast<uint32_t>(i), Napi::String::New(env, event.name()));
      double* field = numbers.Data() + i * kFields;
      field[0] = static_cast<double>(static_cast<int64_t>(event.startNs() - start));
      field[1] = static_cast<double>(event.durationNs());
      field[2] = static_cast<double>(event.startThreadId());
      field[3] = static_cast<double>(event.scope());
      field[4] = static_cast<double>(event.nBytes());
      field[5] = static_cast<double>(static_cast<int8_t>(event.deviceType()));
      field[6] = static_cast<double>(event.sequenceNr());
      field[7] = static_cast<double>(event.fwdThreadId());
      field[8] = IsAnnotation(event);
    }
    Napi::Array both = Napi::Array::New(env, 2);
    both.Set(0u, names);
    both.Set(1u, numbers);
    return both;
  });
}

// pushRange(name) -> how many ranges were open before
Napi::Value PushRange(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto depth = static_cast<double>(ranges.size());
    auto range = std::make_unique<at::RecordFunction>(at::RecordScope::USER_SCOPE);
    const std::string name = info[0].ToString().Utf8Value();
    if (range->isActive()) range->before(std::string_view(name));
    ranges.push_back(std::move(range));
    return Napi::Number::New(info.Env(), depth);
  });
}

// popRange(depth): closes the ranges from there on
void PopRange(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const double depth = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
    while (!ranges.empty() && static_cast<double>(ranges.size()) > depth) ranges.pop_back();
  });
}

}  // namespace

void InitProfiler(Napi::Env env, Napi::Object exports) {
  exports.Set("startProfiler", Napi::Function::New(env, StartProfiler, "startProfiler"));
  exports.Set("stopProfiler", Napi::Function::New(env, StopProfiler, "stopProfiler"));
  exports.Set("pushRange", Napi::Function::New(env, PushRange, "pushRange"));
  exports.Set("popRange", Napi::Function::New(env, PopRange, "popRange"));
}

}  // namespace rn
