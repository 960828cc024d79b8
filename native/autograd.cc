// Gradient modes, backward, hooks and custom functions.
#include "addon.h"
#include "env.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace rn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// How backward runs: on the JavaScript thread, or on a native thread while the JavaScript thread serves
// hooks. The engine runs CUDA nodes on its own threads, so there the second is needed wherever a
// JavaScript callback may be in the graph.
std::atomic<int> liveCallbacks{0};
std::atomic<bool> forceQueue{false};

struct CountedCallback : JsCallback {
  CountedCallback(EnvData* data, napi_value function) : JsCallback(data, function) { ++liveCallbacks; }
  ~CountedCallback() { --liveCallbacks; }
};

double PutOrZero(EnvData& data, const at::Tensor& tensor) {
  return tensor.defined() ? data.slots.put(tensor) : 0;
}

napi_value Number(napi_env env, double value) {
  napi_value result;
  Check(napi_create_double(env, value, &result));
  return result;
}

// An id from JavaScript; null, undefined and 0 are "no tensor".
at::Tensor TensorOrNone(EnvData& data, napi_value value) {
  napi_valuetype type;
  Check(napi_typeof(data.env, value, &type));
  if (type == napi_undefined || type == napi_null) return at::Tensor();
  double id = 0;
  if (napi_get_value_double(data.env, value, &id) != napi_ok) throw TypeError("a Tensor is expected");
  return id == 0 ? at::Tensor() : data.slots.get(id);
}

// Calls with an array of ids (0 = undefined); the callback returns undefined or such an array.
bool CallWithTensors(const JsCallback& callback, const variable_list& tensors, variable_list* returned) {
  bool replaced = false;
  callback.call([&](EnvData& data, napi_value function) {
    napi_value ids;
    Check(napi_create_array_with_length(data.env, tensors.size(), &ids));
    for (size_t i = 0; i < tensors.size(); ++i) {
      Check(napi_set_element(data.env, ids, static_cast<uint32_t>(i),
                             Number(data.env, PutOrZero(data, tensors[i]))));
    }
    const napi_value result = CallFunction(data, function, 1, &ids);
    bool isArray = false;
    Check(napi_is_array(data.env, result, &isArray));
    if (!isArray) return;
    replaced = true;
    uint32_t length = 0;
    Check(napi_get_array_length(data.env, result, &length));
    for (uint32_t i = 0; i < length; ++i) {
      napi_value element;
      Check(napi_get_element(data.env, result, i, &element));
      returned->push_back(TensorOrNone(data, element));
    }
  });
  return replaced;
}

variable_list TensorList(const Napi::Value& value) {
  variable_list result;
  if (!value.IsArray()) return result;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i)
    result.push_back(TensorOrNone(*Current(), Napi::Value(array[i])));
  return result;
}

bool AnyOffCpu(const variable_list& tensors) {
  for (const auto& tensor : tensors) {
    if (tensor.defined() && !tensor.device().is_cpu()) return true;
  }
  return false;
}

// libtorch runs backward inside backward on threads of its own from the 60th level on, where only the queue
// brings hooks to JavaScript.
constexpr int kDirectLevels = 50;

// Runs an engine call where JavaScript hooks can be served.
template <class Work>
void RunEngine(const variable_list& roots, Work&& work) {
  thread_local int level = 0;
  struct Level {
    Level() { ++level; }
    ~Level() { --level; }
  } entered;
  if (forceQueue || level > kDirectLevels || (liveCallbacks > 0 && AnyOffCpu(roots))) {
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
    RunEngine(tensors, [&] { torch::autograd::backward(tensors, gradients, retain, create, inputs); });
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
    RunEngine(outputs,
              [&] { result = torch::autograd::grad(outputs, inputs, gradients, retain, create, unused); });
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

// What a custom function's node keeps: its backward callback.
struct CallbackHolder : torch::CustomClassHolder {
  explicit CallbackHolder(std::shared_ptr<CountedCallback> callback) : callback(std::move(callback)) {}
  std::shared_ptr<CountedCallback> callback;
};

std::shared_ptr<CountedCallback> HeldCallback(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<CallbackHolder>(context->saved_data["callback"].toCapsule())
      ->callback;
}

void Hold(AutogradContext* context, const std::shared_ptr<CountedCallback>& callback) {
  context->saved_data["callback"] = c10::IValue::make_capsule(c10::make_intrusive<CallbackHolder>(callback));
}

// An identity in the graph: its backward shows the gradients to JavaScript, which may replace them.
struct IdentityFunction : torch::autograd::Function<IdentityFunction> {
  static variable_list forward(AutogradContext* context, std::shared_ptr<CountedCallback> callback,
                               at::TensorList tensors) {
    context->set_materialize_grads(false);
    Hold(context, callback);
    return tensors.vec();
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    variable_list result;
    const bool replaced = CallWithTensors(*HeldCallback(context), gradients, &result);
    if (replaced) {
      TORCH_CHECK(result.size() == gradients.size(),
                  "a backward hook must return one gradient for each it was given");
    }
    variable_list out{at::Tensor()};  // for the callback argument
    for (auto& gradient : replaced ? result : gradients) out.push_back(gradient);
    return out;
  }
};

struct ForwardResult {
  variable_list outputs;
  variable_list saved;
  variable_list dirty;
  variable_list nonDifferentiable;
  bool materialize = true;
};

// A function whose forward and backward are JavaScript. `forward` has gradients switched off, as in PyTorch.
struct JsFunction : torch::autograd::Function<JsFunction> {
  static variable_list forward(AutogradContext* context, std::function<ForwardResult()> run,
                               std::shared_ptr<CountedCallback> callback, at::TensorList) {
    ForwardResult result = run();
    Hold(context, callback);
    context->set_materialize_grads(result.materialize);
    context->save_for_backward(result.saved);
    if (!result.dirty.empty()) context->mark_dirty(result.dirty);
    if (!result.nonDifferentiable.empty()) context->mark_non_differentiable(result.nonDifferentiable);
    return result.outputs;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    // JavaScript gets the gradients and, after them, the saved tensors.
    variable_list given = gradients;
    for (auto& saved : context->get_saved_variables()) given.push_back(saved);
    variable_list result;
    const bool returned = CallWithTensors(*HeldCallback(context), given, &result);
    TORCH_CHECK(returned, "backward of a custom Function must return its gradients");
    variable_list out{at::Tensor(), at::Tensor()};  // for the two non-tensor arguments
    for (auto& gradient : result) out.push_back(gradient);
    return out;
  }
};

Napi::Value Ids(Napi::Env env, const variable_list& tensors) {
  Napi::Array ids = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i)
    ids.Set(static_cast<uint32_t>(i), PutOrZero(*Current(), tensors[i]));
  return ids;
}

// identity(tensors[], (grads[]) => grads[] | undefined) -> ids
Napi::Value Identity(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const variable_list tensors = TensorList(info[0]);
    for (const auto& tensor : tensors) {
      if (!tensor.defined()) throw TypeError("identity needs tensors");
    }
    auto callback = std::make_shared<CountedCallback>(Current(), info[1]);
    return Ids(info.Env(), IdentityFunction::apply(callback, at::TensorList(tensors)));
  });
}

// applyFunction(inputs[], forward: () => [outputs, saved, dirty, nonDifferentiable, materialize], backward)
// -> ids
Napi::Value ApplyFunction(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const variable_list inputs = TensorList(info[0]);
    for (const auto& tensor : inputs) {
      if (!tensor.defined()) throw TypeError("a custom Function was given a released tensor");
    }
    const napi_value forward = info[1];
    auto callback = std::make_shared<CountedCallback>(Current(), info[2]);
    std::function<ForwardResult()> run = [&] {
      const Napi::Array parts(info.Env(), CallFunction(*Current(), forward, 0, nullptr));
      ForwardResult result;
      result.outputs = TensorList(parts[0u]);
      result.saved = TensorList(parts[1u]);
      result.dirty = TensorList(parts[2u]);
      result.nonDifferentiable = TensorList(parts[3u]);
      result.materialize = Napi::Value(parts[4u]).ToBoolean();
      return result;
    };
    return Ids(info.Env(), JsFunction::apply(run, callback, at::TensorList(inputs)));
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
  add("identity", Identity);
  add("applyFunction", ApplyFunction);
  add("setForceQueue", SetForceQueue);
}

}  // namespace rn
