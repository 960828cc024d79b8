#include "operators.h"

#include "addon.h"
#include "devices.h"
#include "guards.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace rn {

namespace {

using Families = std::map<std::string, std::vector<c10::OperatorHandle>>;

// All `aten::` operators that have a schema, by name, overloads in a fixed order: Tensor arguments before
// Scalar ones, plain forms before out= forms.
const Families& AllFamilies() {
  static const Families families = [] {
    Families result;
    auto& dispatcher = c10::Dispatcher::singleton();
    for (const auto& name : dispatcher.getAllOpNames()) {
      if (name.name.rfind("aten::", 0) != 0) continue;
      if (auto handle = dispatcher.findSchema(name)) result[name.name.substr(6)].push_back(*handle);
    }
    for (auto& [name, handles] : result) {
      std::sort(handles.begin(), handles.end(), [](const auto& a, const auto& b) {
        const auto rank = [](const c10::OperatorHandle& handle) {
          const auto& schema = handle.schema();
          int outs = 0;
          for (const auto& argument : schema.arguments()) outs += argument.is_out();
          return std::make_tuple(outs, schema.overload_name() != "Tensor", schema.arguments().size(),
                                 schema.overload_name());
        };
        return rank(a) < rank(b);
      });
    }
    return result;
  }();
  return families;
}

// Resolved families, shared by all environments of the process: JavaScript knows them by index.
struct Registry {
  static constexpr int32_t kMax = 8192;  // libtorch has about 1,600 names
  std::mutex mutex;
  std::array<std::atomic<const OperatorFamily*>, kMax> families{};  // read without the lock
  int32_t count = 0;
  std::unordered_map<std::string, int32_t> byName;
};

Registry& GetRegistry() {
  static auto* registry = new Registry;
  return *registry;
}

std::string Candidates(const OperatorFamily& family) {
  std::string text;
  for (const auto& overload : family.overloads) {
    text += "\n  " + toString(overload.handle.schema());
  }
  return text;
}

constexpr size_t kMaxArguments = 64;  // the longest schema has 33

// The arguments of one call as they lie in the exchange buffer. Not initialised: it is made for every call.
struct Arguments {
  size_t positionalCount = 0;
  size_t keywordCount = 0;
  Parsed positional[kMaxArguments];
  Parsed keyword[kMaxArguments];
  const std::string* names[kMaxArguments];
};

size_t Skip(const Exchange& x, size_t at) {
  const Tag tag = x.tag(at);
  if (tag == Tag::kNumberList || tag == Tag::kTensorList || tag == Tag::kBoolList) {
    return at + 1 + static_cast<size_t>(x.values[at]);
  }
  return at + 1;
}

void Parse(EnvData& data, size_t end, Arguments* out) {
  const Exchange& x = data.exchange;
  size_t at = 0;
  while (at < end) {
    if (out->positionalCount == kMaxArguments || out->keywordCount == kMaxArguments) {
      throw TypeError("too many arguments");
    }
    if (x.tag(at) == Tag::kKeyword) {
      const auto name = static_cast<size_t>(x.values[at]);
      if (name >= data.strings.size()) throw TypeError("unknown keyword");
      out->names[out->keywordCount] = &data.strings[name];
      ++at;
      out->keyword[out->keywordCount++] = {x.tag(at), static_cast<uint32_t>(at)};
    } else {
      out->positional[out->positionalCount++] = {x.tag(at), static_cast<uint32_t>(at)};
    }
    at = Skip(x, at);
  }
  if (at != end) throw TypeError("malformed argument list");
  // As everywhere in JavaScript, f(x, undefined) is f(x).
  while (out->positionalCount > 0 && out->positional[out->positionalCount - 1].tag == Tag::kUndefined) {
    --out->positionalCount;
  }
}

// Fills `stack` and, for each argument, where it came from; false when the overload does not fit.
bool Match(EnvData& data, const Overload& overload, const Arguments& given, std::vector<c10::IValue>* stack,
           Parsed* chosen) {
  const size_t count = given.positionalCount;
  const size_t total = overload.arguments.size();
  if (count > overload.positional || total > kMaxArguments) return false;
  size_t used = 0;
  for (size_t i = 0; i < total; ++i) {
    const ArgumentPlan& plan = overload.arguments[i];
    Parsed value{Tag::kUndefined, 0};
    if (i < count) {
      value = given.positional[i];
    } else {
      for (size_t k = 0; k < given.keywordCount; ++k) {
        if (*given.names[k] == plan.name) {
          value = given.keyword[k];
          ++used;
          break;
        }
      }
    }
    if (value.tag == Tag::kUndefined) {
      if (!plan.hasDefault && !plan.optional) return false;
    } else if ((plan.accepts >> static_cast<uint32_t>(value.tag) & 1) == 0) {
      return false;
    }
    chosen[i] = value;
  }
  if (used != given.keywordCount) return false;
  stack->clear();
  for (size_t i = 0; i < total; ++i) {
    const ArgumentPlan& plan = overload.arguments[i];
    if (chosen[i].tag == Tag::kUndefined) {
      if (plan.hasDefault) {
        stack->push_back(plan.defaultValue);
      } else {
        stack->emplace_back();
      }
    } else {
      stack->emplace_back();
      if (!Convert(data, plan, chosen[i], &stack->back())) return false;
    }
  }
  return true;
}

[[noreturn]] void NoOverload(EnvData& data, const OperatorFamily& family, const Arguments& given) {
  std::vector<Parsed> values(given.positional, given.positional + given.positionalCount);
  std::vector<std::string> names(values.size());
  for (size_t i = 0; i < given.keywordCount; ++i) {
    values.push_back(given.keyword[i]);
    names.push_back(*given.names[i]);
  }
  const char* many = family.overloads.size() == 1 ? " does not accept " : ": no overload accepts ";
  throw TypeError("aten::" + family.name + many + Describe(data, values, names) +
                  ". Candidates:" + Candidates(family));
}

// Writes the results, which lie at the top of the stack, one after the other; header[1] counts them.
void WriteResults(EnvData& data, const Overload& overload, std::vector<c10::IValue>& stack,
                  const Parsed* chosen) {
  Exchange& x = data.exchange;
  // Before the first is written: nobody would release those that come before one too many.
  size_t total = stack.size() + 1;
  for (const auto& value : stack) total += value.isList() ? value.toListRef().size() : 0;
  if (total >= Exchange::kCapacity) {
    throw std::runtime_error("the operator returned " + std::to_string(total) +
                             " values, more than a call can carry");
  }
  size_t next = 0;
  for (size_t i = 0; i < stack.size(); ++i) {
    const int32_t alias = overload.aliases[i];
    if (alias >= 0) {
      x.set(next++, Tag::kSame, chosen[alias].at);
    } else {
      next = WriteResult(data, std::move(stack[i]), next);
    }
  }
  x.header[1] = static_cast<int32_t>(stack.size());
}

// A stack of IValues that keeps its capacity between calls; calls may nest through JavaScript hooks.
class StackLease {
 public:
  StackLease() {
    if (!pool().empty()) {
      stack_ = std::move(pool().back());
      pool().pop_back();
    }
  }
  ~StackLease() {
    stack_.clear();
    pool().push_back(std::move(stack_));
  }
  std::vector<c10::IValue>& operator*() { return stack_; }

 private:
  static std::vector<std::vector<c10::IValue>>& pool() {
    thread_local std::vector<std::vector<c10::IValue>> pool;
    return pool;
  }
  std::vector<c10::IValue> stack_;
};

// header[0] = operator, header[1] = number of flat entries. Called without arguments: everything lies in
// the exchange buffer.
napi_value Call(napi_env env, napi_callback_info) {
  EnvData& data = *Current();
  const int32_t index = data.exchange.header[0];
  const auto end = static_cast<size_t>(data.exchange.header[1]);
  const OperatorFamily* found = index < 0 || index >= Registry::kMax
                                    ? nullptr
                                    : GetRegistry().families[index].load(std::memory_order_acquire);
  if (found == nullptr || end > Exchange::kCapacity) {
    napi_throw_type_error(env, nullptr, "unknown operator");
    return nullptr;
  }
  const OperatorFamily& family = *found;
  const Overload* fitting = nullptr;
  try {
    StackLease lease;
    std::vector<c10::IValue>& stack = *lease;
    Arguments given;
    Parsed chosen[kMaxArguments];
    Parse(data, end, &given);
    for (const Overload& overload : family.overloads) {
      if (Match(data, overload, given, &stack, chosen)) {
        fitting = &overload;
        break;
      }
    }
    if (fitting == nullptr) NoOverload(data, family, given);
    if (fitting->guard != nullptr || fitting->hasFixedLists) RunGuard(*fitting, &stack);
    if (HasUnusual(stack)) RefuseUnusual(*fitting, stack);
    const int32_t use = data.exchange.header[2];
    try {
      fitting->handle.callBoxed(stack);
    } catch (const c10::Error& error) {
      // Garbage may be what holds the memory. What writes into its arguments may have done so; a call has
      // used up its stack, which is made anew before the collection, so that its tensors stay.
      const bool again = IsOutOfMemory(error) && !fitting->handle.schema().is_mutable() &&
                         !data.slots.detaining() && data.exchange.header[2] == use;
      if (!again || !Match(data, *fitting, given, &stack, chosen) || !data.collectGarbage()) throw;
      fitting->handle.callBoxed(stack);
    }
    WriteResults(data, *fitting, stack, chosen);
  } catch (const TypeError& error) {
    const std::string text = error.what();
    napi_throw_type_error(
        env, nullptr, (text.rfind("aten::", 0) == 0 ? text : "aten::" + family.name + ": " + text).c_str());
  } catch (...) {
    ThrowToJs(env, "aten::" + family.name, fitting == nullptr ? "" : toString(fitting->handle.schema()));
  }
  return nullptr;
}

Napi::Value Resolve(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = info[0].As<Napi::String>();
    Registry& registry = GetRegistry();
    std::lock_guard lock(registry.mutex);
    if (const auto found = registry.byName.find(name); found != registry.byName.end()) {
      return Napi::Number::New(info.Env(), found->second);
    }
    const auto handles = AllFamilies().find(name);
    if (handles == AllFamilies().end()) throw TypeError("libtorch has no operator aten::" + name);
    auto family = std::make_unique<OperatorFamily>(OperatorFamily{name, {}});
    std::string reasons;
    for (const auto& handle : handles->second) {
      const std::string reason = WhyNotCallable(handle.schema());
      if (reason.empty()) {
        family->overloads.push_back(PlanOverload(handle));
      } else {
        reasons += "\n  " + toString(handle.schema()) + ": " + reason;
      }
    }
    if (family->overloads.empty())
      throw TypeError("aten::" + name + " cannot be called from JavaScript:" + reasons);
    if (registry.count == Registry::kMax) throw std::runtime_error("too many operators");
    const int32_t index = registry.count++;
    registry.families[index].store(family.release(), std::memory_order_release);
    registry.byName[name] = index;
    return Napi::Number::New(info.Env(), index);
  });
}

// [schema, reason it cannot be called or ''] for every aten schema, sorted.
Napi::Value Schemas(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Array result = Napi::Array::New(info.Env());
    uint32_t count = 0;
    const auto add = [&](const std::vector<c10::OperatorHandle>& handles) {
      for (const auto& handle : handles) {
        Napi::Array row = Napi::Array::New(info.Env(), 2);
        row.Set(0u, toString(handle.schema()));
        row.Set(1u, WhyNotCallable(handle.schema()));
        result.Set(count++, row);
      }
    };
    if (info[0].IsString()) {
      const auto found = AllFamilies().find(info[0].As<Napi::String>());
      if (found != AllFamilies().end()) add(found->second);
    } else {
      for (const auto& [name, handles] : AllFamilies()) add(handles);
    }
    return result;
  });
}

Napi::Value Intern(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    EnvData& data = *Current();
    data.strings.push_back(info[0].As<Napi::String>());
    return Napi::Number::New(info.Env(), static_cast<double>(data.strings.size() - 1));
  });
}

// Takes a string that a result brought; only the last one can be taken.
Napi::Value TakeString(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    EnvData& data = *Current();
    const uint32_t index = info[0].As<Napi::Number>().Uint32Value();
    if (index >= data.strings.size()) throw TypeError("unknown string");
    const std::string text = data.strings[index];
    if (index + 1 == data.strings.size()) data.strings.pop_back();
    return Napi::String::New(info.Env(), text);
  });
}

}  // namespace

void InitOperators(Napi::Env env, Napi::Object exports) {
  napi_value call;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, Call, nullptr, &call);
  exports.Set("call", Napi::Value(env, call));
  exports.Set("resolve", Napi::Function::New(env, Resolve, "resolve"));
  exports.Set("schemas", Napi::Function::New(env, Schemas, "schemas"));
  exports.Set("intern", Napi::Function::New(env, Intern, "intern"));
  exports.Set("takeString", Napi::Function::New(env, TakeString, "takeString"));
}

}  // namespace rn
