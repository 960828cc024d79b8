// How autograd and JavaScript callbacks meet: tensors as ids, one way and back.
#pragma once

#include "env.h"

#include <torch/csrc/autograd/variable.h>

namespace rn {

using torch::autograd::variable_list;

// A callback that may be reached from a graph. Their number says whether backward has to serve JavaScript.
struct CountedCallback : JsCallback {
  static inline std::atomic<int> live{0};

  CountedCallback(EnvData* data, napi_value function) : JsCallback(data, function) { ++live; }
  ~CountedCallback() { --live; }
};

// A new id; 0 for an undefined tensor.
double PutOrZero(EnvData& data, const at::Tensor& tensor);

// An id from JavaScript; null, undefined and 0 are "no tensor".
at::Tensor TensorOrNone(EnvData& data, napi_value value);

// An array of ids from JavaScript; anything else is no tensors.
variable_list TensorList(const Napi::Value& value);

// Calls with an array of ids (0 = undefined). True when the callback returned such an array, then in
// `returned`.
bool CallWithTensors(const JsCallback& callback, const variable_list& tensors, variable_list* returned);

}  // namespace rn
