// Values from JavaScript as IValues, and back.
#include "operators.h"

#include <ATen/ScalarOps.h>
#include <ATen/core/Generator.h>
#include <ATen/core/List.h>
#include <c10/core/Device.h>
#include <c10/core/Layout.h>
#include <c10/core/MemoryFormat.h>

#include <cmath>

namespace rn {

namespace {

bool ReadInt(EnvData& data, size_t at, int64_t* out) {
  const Exchange& x = data.exchange;
  switch (x.tag(at)) {
    case Tag::kBigInt:
      *out = x.integer(at);
      return true;
    case Tag::kBool:
      *out = x.values[at] != 0;
      return true;
    default: {
      const double value = x.values[at];
      if (value != std::trunc(value) || std::abs(value) > 9007199254740991.0) return false;
      *out = static_cast<int64_t>(value);
      return true;
    }
  }
}

// JavaScript does not tell 1 from 1.0: an integral number is an integer Scalar, as it is an int in Python
// where people write it without a point.
c10::Scalar NumberToScalar(double value) {
  if (value == std::trunc(value) && std::abs(value) <= 9007199254740991.0 &&
      !(value == 0 && std::signbit(value))) {
    return c10::Scalar(static_cast<int64_t>(value));
  }
  return c10::Scalar(value);
}

c10::Scalar ReadScalar(EnvData& data, size_t at) {
  const Exchange& x = data.exchange;
  if (x.tag(at) == Tag::kBigInt) return c10::Scalar(x.integer(at));
  if (x.tag(at) == Tag::kBool) return c10::Scalar(x.values[at] != 0);
  return NumberToScalar(x.values[at]);
}

const std::string& ReadString(EnvData& data, size_t at) {
  const auto index = static_cast<size_t>(data.exchange.values[at]);
  if (index >= data.strings.size()) throw TypeError("unknown string");
  return data.strings[index];
}

bool ReadMemoryFormat(const std::string& name, c10::MemoryFormat* out) {
  if (name == "contiguous_format")
    *out = c10::MemoryFormat::Contiguous;
  else if (name == "channels_last")
    *out = c10::MemoryFormat::ChannelsLast;
  else if (name == "channels_last_3d")
    *out = c10::MemoryFormat::ChannelsLast3d;
  else if (name == "preserve_format")
    *out = c10::MemoryFormat::Preserve;
  else
    return false;
  return true;
}

bool ReadLayout(const std::string& name, c10::Layout* out) {
  if (name == "strided")
    *out = c10::Layout::Strided;
  else if (name == "sparse_coo")
    *out = c10::Layout::Sparse;
  else if (name == "sparse_csr")
    *out = c10::Layout::SparseCsr;
  else if (name == "sparse_csc")
    *out = c10::Layout::SparseCsc;
  else if (name == "sparse_bsr")
    *out = c10::Layout::SparseBsr;
  else if (name == "sparse_bsc")
    *out = c10::Layout::SparseBsc;
  else if (name == "mkldnn")
    *out = c10::Layout::Mkldnn;
  else
    return false;
  return true;
}

struct ListView {
  size_t start;
  size_t size;
};

// Elements follow the head; a lone number that stands for int[N] is its own single element.
ListView Elements(EnvData& data, const Parsed& value) {
  if (value.tag == Tag::kEmptyList) return {value.at, 0};
  return {value.at + 1, static_cast<size_t>(data.exchange.values[value.at])};
}

bool ConvertIntList(EnvData& data, const ArgumentPlan& plan, const Parsed& value, c10::IValue* out) {
  c10::List<int64_t> list;
  if (value.tag == Tag::kNumber || value.tag == Tag::kBigInt) {
    int64_t element;
    if (!ReadInt(data, value.at, &element)) return false;
    list.reserve(plan.broadcast);
    for (int32_t i = 0; i < plan.broadcast; ++i) list.push_back(element);
  } else {
    const ListView view = Elements(data, value);
    list.reserve(view.size);
    for (size_t i = 0; i < view.size; ++i) {
      int64_t element;
      if (!ReadInt(data, view.start + i, &element)) return false;
      list.push_back(element);
    }
    // int[2] with one element means that element twice, as in PyTorch.
    if (view.size == 1 && plan.broadcast > 1) {
      for (int32_t i = 1; i < plan.broadcast; ++i) list.push_back(list.get(0));
    }
  }
  *out = std::move(list);
  return true;
}

}  // namespace

bool Convert(EnvData& data, const ArgumentPlan& plan, const Parsed& value, c10::IValue* out) {
  if (value.tag == Tag::kNull) {
    *out = c10::IValue();
    return true;
  }
  const Exchange& x = data.exchange;
  switch (plan.kind) {
    case Kind::kTensor:
      if (value.tag == Tag::kTensor) {
        *out = data.slots.get(x.values[value.at]);
      } else {
        at::Tensor number = c10::scalar_to_tensor(ReadScalar(data, value.at));
        number.unsafeGetTensorImpl()->set_wrapped_number(true);
        *out = std::move(number);
      }
      return true;
    case Kind::kTensorList: {
      const ListView view = Elements(data, value);
      c10::List<at::Tensor> list;
      list.reserve(view.size);
      for (size_t i = 0; i < view.size; ++i) {
        if (x.tag(view.start + i) != Tag::kTensor) return false;
        list.push_back(data.slots.get(x.values[view.start + i]));
      }
      *out = std::move(list);
      return true;
    }
    case Kind::kOptionalTensorList: {
      const ListView view = Elements(data, value);
      c10::List<std::optional<at::Tensor>> list;
      list.reserve(view.size);
      for (size_t i = 0; i < view.size; ++i) {
        if (x.tag(view.start + i) == Tag::kTensor) {
          list.push_back(data.slots.get(x.values[view.start + i]));
        } else {
          list.push_back(std::optional<at::Tensor>());
        }
      }
      *out = std::move(list);
      return true;
    }
    case Kind::kInt: {
      int64_t integer;
      if (!ReadInt(data, value.at, &integer)) return false;
      *out = integer;
      return true;
    }
    case Kind::kFloat:
      *out = value.tag == Tag::kBigInt ? static_cast<double>(x.integer(value.at)) : x.values[value.at];
      return true;
    case Kind::kBool:
      *out = x.values[value.at] != 0;
      return true;
    case Kind::kScalar:
      *out = ReadScalar(data, value.at);
      return true;
    case Kind::kString:
      *out = ReadString(data, value.at);
      return true;
    case Kind::kDType: {
      const double code = x.values[value.at];
      if (!(code >= 0 && code < static_cast<double>(c10::ScalarType::Undefined))) return false;
      *out = static_cast<int64_t>(code);
      return true;
    }
    case Kind::kDevice:
      *out = c10::Device(ReadString(data, value.at));
      return true;
    case Kind::kLayout: {
      c10::Layout layout;
      if (!ReadLayout(ReadString(data, value.at), &layout)) return false;
      *out = layout;
      return true;
    }
    case Kind::kMemoryFormat: {
      c10::MemoryFormat format;
      if (!ReadMemoryFormat(ReadString(data, value.at), &format)) return false;
      *out = format;
      return true;
    }
    case Kind::kGenerator: {
      const auto found = data.generators.find(static_cast<int32_t>(x.values[value.at]));
      if (found == data.generators.end()) throw TypeError("this Generator has been released");
      *out = found->second;
      return true;
    }
    case Kind::kIntList:
      return ConvertIntList(data, plan, value, out);
    case Kind::kFloatList: {
      c10::List<double> list;
      if (value.tag == Tag::kNumber) {
        for (int32_t i = 0; i < plan.broadcast; ++i) list.push_back(x.values[value.at]);
      } else {
        const ListView view = Elements(data, value);
        for (size_t i = 0; i < view.size; ++i) {
          const size_t at = view.start + i;
          list.push_back(x.tag(at) == Tag::kBigInt ? static_cast<double>(x.integer(at)) : x.values[at]);
        }
      }
      *out = std::move(list);
      return true;
    }
    case Kind::kBoolList: {
      c10::List<bool> list;
      if (value.tag == Tag::kBool) {
        for (int32_t i = 0; i < plan.broadcast; ++i) list.push_back(x.values[value.at] != 0);
      } else {
        const ListView view = Elements(data, value);
        for (size_t i = 0; i < view.size; ++i) list.push_back(x.values[view.start + i] != 0);
      }
      *out = std::move(list);
      return true;
    }
    case Kind::kScalarList: {
      const ListView view = Elements(data, value);
      c10::List<at::Scalar> list;
      c10::impl::GenericList generic(c10::NumberType::get());
      for (size_t i = 0; i < view.size; ++i) generic.push_back(ReadScalar(data, view.start + i));
      *out = std::move(generic);
      return true;
    }
    case Kind::kUnsupported:
      return false;
  }
  return false;
}

size_t WriteResult(EnvData& data, c10::IValue&& value, size_t position) {
  Exchange& x = data.exchange;
  if (position + 2 >= Exchange::kCapacity) throw std::runtime_error("the operator returned too many values");
  if (value.isTensor()) {
    at::Tensor tensor = std::move(value).toTensor();
    if (!tensor.defined()) {
      x.set(position, Tag::kNull, 0);
    } else {
      x.set(position, Tag::kTensor, data.slots.put(std::move(tensor)));
    }
    return position + 1;
  }
  if (value.isInt()) {
    x.setInteger(position, value.toInt());
    return position + 1;
  }
  if (value.isSymInt()) {
    x.setInteger(position, value.toSymInt().guard_int(__FILE__, __LINE__));
    return position + 1;
  }
  if (value.isDouble()) {
    x.set(position, Tag::kNumber, value.toDouble());
    return position + 1;
  }
  if (value.isBool()) {
    x.set(position, Tag::kBool, value.toBool() ? 1 : 0);
    return position + 1;
  }
  if (value.isNone()) {
    x.set(position, Tag::kNull, 0);
    return position + 1;
  }
  if (value.isScalar()) {
    const c10::Scalar scalar = value.toScalar();
    TORCH_CHECK(!scalar.isComplex(),
                "a complex Scalar has no JavaScript form: use view_as_real on the tensor");
    if (scalar.isBoolean()) {
      x.set(position, Tag::kBool, scalar.toBool() ? 1 : 0);
    } else if (scalar.isIntegral(false)) {
      x.setInteger(position, scalar.toLong());
    } else {
      x.set(position, Tag::kNumber, scalar.toDouble());
    }
    return position + 1;
  }
  if (value.isString()) {
    data.strings.push_back(value.toStringRef());
    x.set(position, Tag::kString, static_cast<double>(data.strings.size() - 1));
    return position + 1;
  }
  if (value.isDevice()) {
    const c10::Device device = value.toDevice();
    x.set(position, Tag::kDevice, static_cast<double>(device.type()) * 256 + (device.index() + 1));
    return position + 1;
  }
  if (value.isList()) {
    const auto list = value.toListRef();
    Tag tag = Tag::kNumberList;
    if (list.empty())
      tag = Tag::kEmptyList;
    else if (list[0].isTensor())
      tag = Tag::kTensorList;
    else if (list[0].isBool())
      tag = Tag::kBoolList;
    x.set(position, tag, static_cast<double>(list.size()));
    size_t next = position + 1;
    for (const auto& element : list) next = WriteResult(data, c10::IValue(element), next);
    return next;
  }
  throw std::runtime_error("a result of type " + value.tagKind() + " has no JavaScript form");
}

std::string Describe(EnvData& data, const std::vector<Parsed>& values,
                     const std::vector<std::string>& names) {
  const Exchange& x = data.exchange;
  std::string text = "(";
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) text += ", ";
    if (!names[i].empty()) text += names[i] + "=";
    switch (values[i].tag) {
      case Tag::kUndefined:
        text += "undefined";
        break;
      case Tag::kNull:
        text += "null";
        break;
      case Tag::kTensor: {
        const double id = x.values[values[i].at];
        text += data.slots.alive(id)
                    ? std::string(c10::toString(data.slots.get(id).scalar_type())) + " Tensor"
                    : "released Tensor";
        break;
      }
      case Tag::kNumber: {
        const double number = x.values[values[i].at];
        const bool integral = number == std::trunc(number) && std::abs(number) < 1e15;
        text +=
            "number " + (integral ? std::to_string(static_cast<int64_t>(number)) : std::to_string(number));
        break;
      }
      case Tag::kBool:
        text += "boolean";
        break;
      case Tag::kNumberList:
        text += "number[]";
        break;
      case Tag::kTensorList:
        text += "Tensor[]";
        break;
      case Tag::kString:
        text += "string '" + ReadString(data, values[i].at) + "'";
        break;
      case Tag::kBigInt:
        text += "bigint";
        break;
      case Tag::kDType:
        text += "dtype";
        break;
      case Tag::kBoolList:
        text += "boolean[]";
        break;
      case Tag::kGenerator:
        text += "Generator";
        break;
      case Tag::kEmptyList:
        text += "[]";
        break;
      default:
        text += "?";
    }
  }
  return text + ")";
}

}  // namespace rn
