// Functions whose derivative is JavaScript: identities that show gradients to hooks, and custom Functions.
#include "addon.h"
#include "autograd.h"

#include <torch/csrc/autograd/custom_function.h>

namespace rn {

namespace {

using torch::autograd::AutogradContext;

napi_value Number(napi_env env, double value) {
  napi_value result;
  Check(napi_create_double(env, value, &result));
  return result;
}

}  // namespace

double PutOrZero(EnvData& data, const at::Tensor& tensor) {
  return tensor.defined() ? data.slots.put(tensor) : 0;
}

at::Tensor TensorOrNone(EnvData& data, napi_value value) {
  napi_valuetype type;
  Check(napi_typeof(data.env, value, &type));
  if (type == napi_undefined || type == napi_null) return at::Tensor();
  double id = 0;
  if (napi_get_value_double(data.env, value, &id) != napi_ok) throw TypeError("a Tensor is expected");
  return id == 0 ? at::Tensor() : data.slots.get(id);
}

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

namespace {

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

}  // namespace

void InitFunctions(Napi::Env env, Napi::Object exports) {
  exports.Set("identity", Napi::Function::New(env, Identity, "identity"));
  exports.Set("applyFunction", Napi::Function::New(env, ApplyFunction, "applyFunction"));
}

}  // namespace rn
