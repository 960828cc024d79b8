#include "guards.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/MemoryOverlap.h>
#include <ATen/core/grad_mode.h>

#include <sstream>
#include <unordered_set>

namespace rn {

const c10::IValue* Given::find(const char* name) const {
  const auto& arguments = schema_.arguments();
  for (size_t i = 0; i < arguments.size() && i < stack_.size(); ++i) {
    if (arguments[i].name() == name) return &stack_[i];
  }
  return nullptr;
}

bool Given::has(const char* name) const {
  const c10::IValue* value = find(name);
  return value != nullptr && !value->isNone();
}

at::Tensor Given::tensor(const char* name) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isTensor() ? value->toTensor() : at::Tensor();
}

std::vector<at::Tensor> Given::tensors(const char* name) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isTensorList() ? value->toTensorVector() : std::vector<at::Tensor>();
}

int64_t Given::integer(const char* name, int64_t fallback) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isInt() ? value->toInt() : fallback;
}

double Given::number(const char* name, double fallback) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isScalar() ? value->toScalar().toDouble() : fallback;
}

bool Given::flag(const char* name, bool fallback) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isBool() ? value->toBool() : fallback;
}

std::vector<int64_t> Given::integers(const char* name) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isIntList() ? value->toIntVector() : std::vector<int64_t>();
}

size_t Given::length(const char* name) const {
  const c10::IValue* value = find(name);
  return value != nullptr && value->isList() ? value->toListRef().size() : 0;
}

void Need(bool condition, const char* requirement) {
  if (!condition) throw TypeError(requirement);
}

void NeedDense(const at::Tensor& tensor, const char* name) {
  if (!tensor.defined() || tensor.layout() != c10::kStrided || tensor.is_quantized() || tensor.is_nested()) {
    throw TypeError(std::string(name) + " must be a strided tensor that is not quantized");
  }
}

bool SameSizes(const at::Tensor& a, const at::Tensor& b) { return a.sizes() == b.sizes(); }

bool SameType(const at::Tensor& a, const at::Tensor& b) { return a.scalar_type() == b.scalar_type(); }

bool Within(const at::Tensor& tensor, int64_t least, int64_t most) {
  // Elsewhere than on the CPU, looking would wait for the device, whose kernels check for themselves.
  if (!tensor.is_cpu() || tensor.numel() == 0) return true;
  at::NoGradGuard noGrad;
  const at::Tensor values = tensor.detach().to(c10::kLong);
  return values.min().item<int64_t>() >= least && values.max().item<int64_t>() <= most;
}

bool IsIndex(const at::Tensor& tensor) {
  return tensor.scalar_type() == c10::kLong || tensor.scalar_type() == c10::kInt;
}

int64_t Wrap(int64_t dim, int64_t rank) {
  if (dim < -rank || dim >= rank) return -1;
  return dim < 0 ? dim + rank : dim;
}

namespace {

// The lists of a foreach operator go together element by element.
void ForeachGuard(const Given& given) {
  const size_t length = given.tensors("self").size();
  for (const auto& argument : given.schema().arguments()) {
    const char* name = argument.name().c_str();
    if (argument.real_type()->kind() != c10::TypeKind::ListType || !given.has(name)) continue;
    Need(given.length(name) == length, "all lists must have the same length");
  }
}

const std::unordered_map<std::string, Guard>& AllGuards() {
  static const auto* guards = [] {
    // Makes every constructor of a sparse tensor look at its indices, the _unsafe ones too.
    at::globalContext().setCheckSparseTensorInvariants(true);
    auto* result = new std::unordered_map<std::string, Guard>;
    for (const auto* table : {&NeuralGuards(), &MathGuards(), &LayoutGuards()}) {
      for (const NamedGuard& row : *table) {
        std::istringstream names(row.operators);
        for (std::string name; names >> name;) (*result)[name] = row.guard;
      }
    }
    return result;
  }();
  return *guards;
}

}  // namespace

bool HasUnusual(const std::vector<c10::IValue>& stack) {
  for (const c10::IValue& value : stack) {
    if (value.isTensor()) {
      if (IsUnusual(value.toTensor())) return true;
    } else if (value.isTensorList() || value.isOptionalTensorList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor() && IsUnusual(element.toTensor())) return true;
      }
    }
  }
  return false;
}

void RefuseUnusual(const Overload& overload, const std::vector<c10::IValue>& stack) {
  static const std::unordered_set<std::string> known = {
      "to_dense",    "_to_dense", "clone",  "detach", "add",        "mul",        "relu",
      "sigmoid",     "gelu",      "linear", "conv2d", "conv3d",     "max_pool2d", "avg_pool2d",
      "softmax",     "matmul",    "bmm",    "unbind", "layer_norm", "dropout",    "to_padded_tensor",
      "is_same_size"};
  const c10::FunctionSchema& schema = overload.handle.schema();
  const std::string name = schema.name().substr(schema.name().find("::") + 2);
  if (known.count(name) != 0 && schema.overload_name().find("out") == std::string::npos) return;
  if (name.find("nested") != std::string::npos || name.find("mkldnn") != std::string::npos) return;
  throw TypeError(
      "nested and mkldnn tensors are not accepted here: convert them with to_padded_tensor or to_dense");
}

Guard FindGuard(const c10::FunctionSchema& schema) {
  const std::string name = schema.name().substr(schema.name().find("::") + 2);
  const auto found = AllGuards().find(name);
  if (found != AllGuards().end()) return found->second;
  return name.rfind("_foreach_", 0) == 0 ? ForeachGuard : nullptr;
}

void RunGuard(const Overload& overload, std::vector<c10::IValue>* stack) {
  const c10::FunctionSchema& schema = overload.handle.schema();
  // Not all kernels look where they write. And int[2] means two numbers: kernels index the list without
  // looking. One stands for both, as it does alone.
  for (size_t i = 0; i < overload.arguments.size(); ++i) {
    const ArgumentPlan& plan = overload.arguments[i];
    if (schema.arguments()[i].is_out() && (*stack)[i].isTensor() &&
        at::has_internal_overlap((*stack)[i].toTensor()) == at::MemOverlap::Yes) {
      throw TypeError(plan.name + " must not be an expanded tensor: its elements share memory, in\n  " +
                      toString(schema));
    }
    if (plan.kind != Kind::kIntList || plan.broadcast < 2 || !(*stack)[i].isIntList()) continue;
    const auto list = (*stack)[i].toIntList();
    const auto wanted = static_cast<size_t>(plan.broadcast);
    if (list.size() == wanted) continue;
    const bool emptyDefault =
        plan.hasDefault && plan.defaultValue.isIntList() && plan.defaultValue.toIntList().empty();
    if (list.empty() && emptyDefault) continue;
    if (list.size() != 1) {
      throw TypeError(plan.name + " takes " + std::to_string(wanted) + " numbers, not " +
                      std::to_string(list.size()) + ", in\n  " + toString(schema));
    }
    (*stack)[i] = std::vector<int64_t>(wanted, list.get(0));
  }
  if (overload.guard == nullptr) return;
  try {
    overload.guard(Given(schema, *stack));
  } catch (const TypeError& error) {
    throw TypeError(std::string(error.what()) + ", in\n  " + toString(schema));
  }
}

}  // namespace rn
