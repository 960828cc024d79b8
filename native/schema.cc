// What a schema asks for: which JavaScript values each argument takes.
#include "guards.h"
#include "operators.h"

#include <unordered_set>

namespace rn {

namespace {

constexpr uint32_t Bit(Tag tag) { return 1u << static_cast<uint32_t>(tag); }

uint32_t Accepts(Kind kind, bool broadcast) {
  switch (kind) {
    case Kind::kTensor:
      return Bit(Tag::kTensor);
    case Kind::kTensorList:
    case Kind::kOptionalTensorList:
      return Bit(Tag::kTensorList) | Bit(Tag::kEmptyList);
    case Kind::kInt:
      return Bit(Tag::kNumber) | Bit(Tag::kBigInt) | Bit(Tag::kBool);
    case Kind::kFloat:
      return Bit(Tag::kNumber) | Bit(Tag::kBigInt);
    case Kind::kBool:
      return Bit(Tag::kBool);
    case Kind::kScalar:
      return Bit(Tag::kNumber) | Bit(Tag::kBigInt) | Bit(Tag::kBool);
    case Kind::kString:
    case Kind::kDevice:
    case Kind::kLayout:
    case Kind::kMemoryFormat:
      return Bit(Tag::kString);
    case Kind::kDType:
      return Bit(Tag::kDType);
    case Kind::kGenerator:
      return Bit(Tag::kGenerator);
    case Kind::kIntList:
      return Bit(Tag::kNumberList) | Bit(Tag::kEmptyList) |
             (broadcast ? Bit(Tag::kNumber) | Bit(Tag::kBigInt) : 0);
    case Kind::kFloatList:
      return Bit(Tag::kNumberList) | Bit(Tag::kEmptyList) | (broadcast ? Bit(Tag::kNumber) : 0);
    case Kind::kBoolList:
      return Bit(Tag::kBoolList) | Bit(Tag::kEmptyList) | (broadcast ? Bit(Tag::kBool) : 0);
    case Kind::kScalarList:
      return Bit(Tag::kNumberList) | Bit(Tag::kEmptyList);
    case Kind::kUnsupported:
      return 0;
  }
  return 0;
}

Kind ListKind(const c10::TypePtr& element) {
  switch (element->kind()) {
    case c10::TypeKind::TensorType:
      return Kind::kTensorList;
    case c10::TypeKind::OptionalType:
      return element->castRaw<c10::OptionalType>()->getElementType()->kind() == c10::TypeKind::TensorType
                 ? Kind::kOptionalTensorList
                 : Kind::kUnsupported;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return Kind::kIntList;
    case c10::TypeKind::FloatType:
      return Kind::kFloatList;
    case c10::TypeKind::BoolType:
      return Kind::kBoolList;
    case c10::TypeKind::NumberType:
      return Kind::kScalarList;
    default:
      return Kind::kUnsupported;
  }
}

Kind KindOf(const c10::TypePtr& type, bool* optional) {
  switch (type->kind()) {
    case c10::TypeKind::OptionalType:
      *optional = true;
      return KindOf(type->castRaw<c10::OptionalType>()->getElementType(), optional);
    case c10::TypeKind::TensorType:
      return Kind::kTensor;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return Kind::kInt;
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return Kind::kFloat;
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      return Kind::kBool;
    case c10::TypeKind::NumberType:
      return Kind::kScalar;
    case c10::TypeKind::StringType:
      return Kind::kString;
    case c10::TypeKind::ScalarTypeType:
      return Kind::kDType;
    case c10::TypeKind::DeviceObjType:
      return Kind::kDevice;
    case c10::TypeKind::LayoutType:
      return Kind::kLayout;
    case c10::TypeKind::MemoryFormatType:
      return Kind::kMemoryFormat;
    case c10::TypeKind::GeneratorType:
      return Kind::kGenerator;
    case c10::TypeKind::ListType:
      return ListKind(type->castRaw<c10::ListType>()->getElementType());
    default:
      return Kind::kUnsupported;
  }
}

// Arithmetic in which PyTorch lets a number stand for the second tensor (python_arg_parser.cpp,
// should_allow_numbers_as_tensors), so that the same kernels and graph nodes come out. Those of that list
// which have a Scalar overload in Python too, remainder and fmod, are not here: it goes first.
bool TakesNumbersAsTensors(const std::string& name) {
  static const std::unordered_set<std::string> names = {
      "add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "copy"};
  std::string plain = name.substr(6);
  if (plain.size() > 1 && plain.back() == '_') plain.pop_back();
  return names.count(plain) > 0;
}

}  // namespace

std::string WhyNotCallable(const c10::FunctionSchema& schema) {
  if (schema.is_vararg()) return "takes a variable number of arguments";
  for (const auto& argument : schema.arguments()) {
    bool optional = false;
    if (KindOf(argument.real_type(), &optional) == Kind::kUnsupported) {
      return "argument '" + argument.name() + "' has type " + argument.real_type()->str();
    }
  }
  for (const auto& result : schema.returns()) {
    bool optional = false;
    if (KindOf(result.real_type(), &optional) == Kind::kUnsupported) {
      return "returns type " + result.real_type()->str();
    }
  }
  return "";
}

Overload PlanOverload(const c10::OperatorHandle& handle) {
  const auto& schema = handle.schema();
  Overload overload{handle, {}, 0, {}};
  overload.guard = FindGuard(schema);
  for (const auto& argument : schema.arguments()) {
    ArgumentPlan plan{};
    plan.kind = KindOf(argument.real_type(), &plan.optional);
    plan.name = argument.name();
    plan.keywordOnly = argument.kwarg_only();
    plan.broadcast = argument.N().value_or(0);
    plan.hasDefault = argument.default_value().has_value();
    if (plan.hasDefault) plan.defaultValue = *argument.default_value();
    plan.accepts = Accepts(plan.kind, plan.broadcast > 0);
    overload.hasFixedLists |= plan.kind == Kind::kIntList && plan.broadcast > 1;
    if (plan.optional) plan.accepts |= Bit(Tag::kNull);
    if (plan.kind == Kind::kTensor && !overload.arguments.empty() && !plan.keywordOnly &&
        TakesNumbersAsTensors(schema.name())) {
      plan.accepts |= Bit(Tag::kNumber) | Bit(Tag::kBool) | Bit(Tag::kBigInt);
    }
    if (!plan.keywordOnly) ++overload.positional;
    overload.arguments.push_back(std::move(plan));
  }
  for (const auto& result : schema.returns()) {
    int32_t alias = -1;
    if (result.alias_info() != nullptr && result.alias_info()->isWrite()) {
      for (size_t i = 0; i < schema.arguments().size(); ++i) {
        const auto* info = schema.arguments()[i].alias_info();
        if (info != nullptr && info->isWrite() && info->beforeSets() == result.alias_info()->beforeSets() &&
            overload.arguments[i].kind == Kind::kTensor) {
          alias = static_cast<int32_t>(i);
          break;
        }
      }
    }
    overload.aliases.push_back(alias);
  }
  return overload;
}

}  // namespace rn
