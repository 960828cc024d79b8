// Gradient modes, backward and hooks.
#include "autograd.h"

#include "addon.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace rn {

namespace {

// How backward runs: on the JavaScript thread, or on a native thread while the JavaScript thread serves
// hooks. The engine runs CUDA nodes on its own threads, so there the second is needed wherever a
// JavaScript callback may be in the graph.
std::atomic<bool> forceQueue{false};

// libtorch runs backward inside backward on threads of its own from the 60th level on, where only the queue
// brings hooks to JavaScript.
constexpr int kDirectLevels = 50;

// Runs an engine call where JavaScript hooks can be served.
template <class Work>
void RunEngine(Work&& work) {
  thread_local int level = 0;
  struct Level {
    Level() { ++level; }
    ~Level() { --level; }
  } entered;
  if (forceQueue || level > kDirectLevels || (CountedCallback::live > 0 && at::hasCUDA())) {
    Current()->jsThread->runElsewhere(work);
  } else {
    work();
  }
}

// backward(tensors[], gradients[], retainGraph | undefined, createGraph, inputs[])
void Backward(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const variable_list tensors = TensorList(info[0]);
    const variable_list gradients = TensorList(info[1]);
    std::optional<bool> retain;
    if (info[2].IsBoolean()) retain = info[2].As<Napi::Boolean>().Value();
    const bool create = info[3].ToBoolean();
    const variable_list inputs = TensorList(info[4]);
    for (const auto& tensor : tensors) {
      if (!tensor.defined()) throw TypeError("backward needs tensors");
    }
    for (const auto& tensor : inputs) {
      if (!tensor.defined()) throw TypeError("backward: an input is not a tensor");
    }
    RunEngine([&] { torch::autograd::backward(tensors, gradients, retain, create, inputs); });
    Current()->drain();
  });
}

// grad(outputs[], inputs[], gradOutputs[], retainGraph | undefined, createGraph, allowUnused) -> ids
Napi::Value Grad(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const variable_list outputs = TensorList(info[0]);
    const variable_list inputs = TensorList(info[1]);
    const variable_list gradients = TensorList(info[2]);
    std::optional<bool> retain;
    if (info[3].IsBoolean()) retain = info[3].As<Napi::Boolean>().Value();
    for (const auto& tensor : outputs) {
      if (!tensor.defined()) throw TypeError("grad needs output tensors");
    }
    for (const auto& tensor : inputs) {
      if (!tensor.defined()) throw TypeError("grad needs input tensors");
    }
    const bool create = info[4].ToBoolean();
    const bool unused = info[5].ToBoolean();
    variable_list result;
    RunEngine([&] { result = torch::autograd::grad(outputs, inputs, gradients, retain, create, unused); });
    Napi::Array ids = Napi::Array::New(info.Env(), result.size());
    for (size_t i = 0; i < result.size(); ++i) {
      ids.Set(static_cast<uint32_t>(i), PutOrZero(*Current(), result[i]));
    }
    Current()->drain();
    return ids;
  });
}

void SetGradEnabled(const Napi::CallbackInfo& info) { at::GradMode::set_enabled(info[0].ToBoolean()); }

Napi::Value IsGradEnabled(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), at::GradMode::is_enabled());
}

// Inference mode is a stack of guards, since JavaScript has no frames of ours to hold them.
thread_local std::vector<std::unique_ptr<c10::InferenceMode>> inferenceModes;

void PushInferenceMode(const Napi::CallbackInfo& info) {
  inferenceModes.push_back(std::make_unique<c10::InferenceMode>(info[0].ToBoolean()));
}
void PopInferenceMode(const Napi::CallbackInfo&) {
  if (!inferenceModes.empty()) inferenceModes.pop_back();
}

void SetRequiresGrad(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    const bool requires_grad = info[1].ToBoolean();
    TORCH_CHECK(
        requires_grad || tensor.is_leaf(),
        "requiresGrad can be switched off on leaf tensors only: use detach() to cut a computed tensor off");
    tensor.set_requires_grad(requires_grad);
  });
}

Napi::Value GetGrad(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& grad = GetTensor(info.Env(), info[0]).grad();
    return Napi::Number::New(info.Env(), PutOrZero(*Current(), grad));
  });
}

void SetGrad(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    const at::Tensor grad = TensorOrNone(*Current(), info[1]);
    if (grad.defined()) {
      TORCH_CHECK(grad.sizes() == tensor.sizes() && grad.scalar_type() == tensor.scalar_type() &&
                      grad.device() == tensor.device(),
                  "the gradient must have its tensor's shape, dtype and device");
      TORCH_CHECK(!grad.is_same(tensor), "a tensor cannot be its own gradient");
    }
    tensor.mutable_grad() = grad;
  });
}

// gradsOf(ids[]) -> ids of the gradients, 0 where there is none.
Napi::Value GradsOf(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto array = info[0].As<Napi::Array>();
    Napi::Array result = Napi::Array::New(info.Env(), array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) {
      result.Set(i, PutOrZero(*Current(), GetTensor(info.Env(), Napi::Value(array[i])).grad()));
    }
    return result;
  });
}

void RetainGrad(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { GetTensor(info.Env(), info[0]).retain_grad(); });
}

Napi::Value GradFnName(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto& node = GetTensor(info.Env(), info[0]).grad_fn();
    if (!node) return info.Env().Null();
    return Napi::String::New(info.Env(), node->name());
  });
}

// registerHook(id, (gradId) => id | undefined) -> handle for removeHook
Napi::Value RegisterHook(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    auto callback = std::make_shared<CountedCallback>(Current(), info[1]);
    const unsigned handle = tensor.register_hook([callback](const at::Tensor& grad) {
      const auto held = callback;  // the hook may remove itself
      variable_list returned;
      const bool replaced = CallWithTensors(*held, {grad}, &returned);
      return replaced && !returned.empty() && returned[0].defined() ? returned[0] : at::Tensor();
    });
    return Napi::Number::New(info.Env(), handle);
  });
}

void RemoveHook(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    GetTensor(info.Env(), info[0]).remove_hook(info[1].As<Napi::Number>().Uint32Value());
    Current()->drain();
  });
}

struct PostAccumulateHook : torch::autograd::PostAccumulateGradHook {
  explicit PostAccumulateHook(std::shared_ptr<CountedCallback> callback) : callback_(std::move(callback)) {}
  void operator()(const at::Tensor& tensor) override {
    const auto held = callback_;  // the hook may remove itself
    variable_list ignored;
    CallWithTensors(*held, {tensor}, &ignored);
  }
  std::shared_ptr<CountedCallback> callback_;
};

// setPostAccumulateGradHook(id, function | null): one a tensor; TypeScript keeps the list.
void SetPostAccumulateGradHook(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const at::Tensor& tensor = GetTensor(info.Env(), info[0]);
    TORCH_CHECK(tensor.is_leaf() && tensor.requires_grad(),
                "a post-accumulate-grad hook needs a leaf tensor that requires grad");
    std::unique_ptr<torch::autograd::PostAccumulateGradHook> hook;
    if (info[1].IsFunction()) {
      hook = std::make_unique<PostAccumulateHook>(std::make_shared<CountedCallback>(Current(), info[1]));
    }
    torch::autograd::impl::set_post_acc_grad_hooks(tensor, std::move(hook));
    Current()->drain();
  });
}

void SetForceQueue(const Napi::CallbackInfo& info) { forceQueue = info[0].ToBoolean(); }

}  // namespace

void InitAutograd(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("backward", Backward);
  add("grad", Grad);
  add("setGradEnabled", SetGradEnabled);
  add("isGradEnabled", IsGradEnabled);
  add("pushInferenceMode", PushInferenceMode);
  add("popInferenceMode", PopInferenceMode);
  add("setRequiresGrad", SetRequiresGrad);
  add("getGrad", GetGrad);
  add("setGrad", SetGrad);
  add("gradsOf", GradsOf);
  add("retainGrad", RetainGrad);
  add("gradFnName", GradFnName);
  add("registerHook", RegisterHook);
  add("removeHook", RemoveHook);
  add("setPostAccumulateGradHook", SetPostAccumulateGradHook);
  add("setForceQueue", SetForceQueue);
}

}  // namespace rn
