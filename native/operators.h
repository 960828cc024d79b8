// Every ATen operator by its schema: how arguments from JavaScript become a stack of IValues and back.
#pragma once

#include "env.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace rn {

// What a schema argument accepts. Optional-ness is kept beside it.
enum class Kind : uint8_t {
  kTensor,
  kTensorList,
  kOptionalTensorList,  // Tensor?[]
  kInt,
  kFloat,
  kBool,
  kScalar,
  kString,
  kDType,
  kDevice,
  kLayout,
  kMemoryFormat,
  kGenerator,
  kIntList,
  kFloatList,
  kBoolList,
  kScalarList,
  kUnsupported,
};

struct ArgumentPlan {
  Kind kind;
  bool optional;
  bool hasDefault;
  bool keywordOnly;
  int32_t broadcast;  // N of int[N]: a lone number stands for N of them; 0 where there is none
  uint32_t accepts;   // bit per Tag
  std::string name;
  c10::IValue defaultValue;
};

class Given;

struct Overload {
  c10::OperatorHandle handle;
  std::vector<ArgumentPlan> arguments;
  size_t positional = 0;
  // For each return: index of the argument it aliases (in-place and out= forms), or -1.
  std::vector<int32_t> aliases;
  // What keeps libtorch alive (guards.h): a check of its own, and lists whose length it does not check.
  void (*guard)(const Given&) = nullptr;
  bool hasFixedLists = false;
};

struct OperatorFamily {
  std::string name;
  std::vector<Overload> overloads;
};

// The reason why a schema cannot be called from JavaScript; empty when it can.
std::string WhyNotCallable(const c10::FunctionSchema& schema);

// Builds the plan of one schema. The schema must be callable.
Overload PlanOverload(const c10::OperatorHandle& handle);

// One argument as it lies in the exchange buffer.
struct Parsed {
  Tag tag;
  uint32_t at;  // flat position
};

// Converts one argument; false when the value does not fit the plan after all (1.5 for an int).
bool Convert(EnvData& data, const ArgumentPlan& plan, const Parsed& value, c10::IValue* out);

// Writes one result at `position` and returns the next free position.
size_t WriteResult(EnvData& data, c10::IValue&& value, size_t position);

// What the arguments look like, for error messages.
std::string Describe(EnvData& data, const std::vector<Parsed>& values, const std::vector<std::string>& names);

}  // namespace rn
