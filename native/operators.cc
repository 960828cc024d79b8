#include "operators.h"

#include "addon.h"

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

struct Arguments {
  std::vector<Parsed> positional;
  std::vector<Parsed> keyword;
  std::vector<const std::string*> names;

  void clear() {
    positional.clear();
    keyword.clear();
    names.clear();
  }
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
    if (x.tag(at) == Tag::kKeyword) {
      const auto name = static_cast<size_t>(x.values[at]);
      if (name >= data.strings.size()) throw TypeError("unknown keyword");
      out->names.push_back(&data.strings[name]);
      ++at;
      out->keyword.push_back({x.tag(at), static_cast<uint32_t>(at)});
    } else {
      out->positional.push_back({x.tag(at), static_cast<uint32_t>(at)});
    }
    at = Skip(x, at);
  }
  if (at != end) throw TypeError("malformed argument list");
}

// Fills `stack` and, for each argument, the flat position it came from; false when the overload does not fit.
bool Match(EnvData& data, const Overload& overload, const Arguments& given, std::vector<c10::IValue>* stack,
           std::vector<int32_t>* positions) {
  const size_t count = given.positional.size();
  if (count > overload.positional) return false;
  stack->clear();
  positions->clear();
  size_t used = 0;
  Parsed chosen[64];
  const size_t total = overload.arguments.size();
  if (total > 64) return false;
  for (size_t i = 0; i < total; ++i) {
    const ArgumentPlan& plan = overload.arguments[i];
    Parsed value{Tag::kUndefined, 0};
    if (i < count) {
      value = given.positional[i];
    } else {
      for (size_t k = 0; k < given.names.size(); ++k) {
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
  if (used != given.names.size()) return false;
  for (size_t i = 0; i < total; ++i) {
    const ArgumentPlan& plan = overload.arguments[i];
    positions->push_back(static_cast<int32_t>(chosen[i].at));
    if (chosen[i].tag == Tag::kUndefined) {
      stack->push_back(plan.hasDefault ? plan.defaultValue : c10::IValue());
    } else {
      c10::IValue value;
      if (!Convert(data, plan, chosen[i], &value)) return false;
      stack->push_back(std::move(value));
    }
  }
  return true;
}

[[noreturn]] void NoOverload(EnvData& data, const OperatorFamily& family, const Arguments& given) {
  std::vector<Parsed> values = given.positional;
  std::vector<std::string> names(values.size());
  for (size_t i = 0; i < given.keyword.size(); ++i) {
    values.push_back(given.keyword[i]);
    names.push_back(*given.names[i]);
  }
  const char* many = family.overloads.size() == 1 ? " does not accept " : ": no overload accepts ";
  throw TypeError("aten::" + family.name + many + Describe(data, values, names) + ". Candidates:" +
                  Candidates(family));
}

// Writes results: one value stands alone, several become header[1] values in a row.
void WriteResults(EnvData& data, const Overload& overload, const std::vector<c10::IValue>& stack,
                  const std::vector<int32_t>& positions) {
  Exchange& x = data.exchange;
  size_t next = 0;
  for (size_t i = 0; i < stack.size(); ++i) {
    const int32_t alias = i < overload.aliases.size() ? overload.aliases[i] : -1;
    if (alias >= 0) {
      x.set(next++, Tag::kSame, positions[alias]);
    } else {
      next = WriteResult(data, stack[i], next);
    }
  }
  x.header[1] = static_cast<int32_t>(stack.size());
}

// Scratch that keeps its capacity between calls; calls may nest through JavaScript hooks.
struct Scratch {
  Arguments arguments;
  std::vector<c10::IValue> stack;
  std::vector<int32_t> positions;
};

class ScratchLease {
 public:
  ScratchLease() {
    if (pool().empty()) {
      scratch_ = std::make_unique<Scratch>();
    } else {
      scratch_ = std::move(pool().back());
      pool().pop_back();
    }
  }
  ~ScratchLease() {
    scratch_->arguments.clear();
    scratch_->stack.clear();
    pool().push_back(std::move(scratch_));
  }
  Scratch* operator->() { return scratch_.get(); }

 private:
  static std::vector<std::unique_ptr<Scratch>>& pool() {
    thread_local std::vector<std::unique_ptr<Scratch>> pool;
    return pool;
  }
  std::unique_ptr<Scratch> scratch_;
};

// header[0] = operator, header[1] = number of flat entries. Called without arguments: everything lies in
// the exchange buffer.
napi_value Call(napi_env env, napi_callback_info) {
  EnvData& data = *Current();
  const int32_t index = data.exchange.header[0];
  const auto end = static_cast<size_t>(data.exchange.header[1]);
  const OperatorFamily* found =
      index < 0 || index >= Registry::kMax ? nullptr : GetRegistry().families[index].load(std::memory_order_acquire);
  if (found == nullptr || end > Exchange::kCapacity) {
    napi_throw_type_error(env, nullptr, "unknown operator");
    return nullptr;
  }
  const OperatorFamily& family = *found;
  const Overload* chosen = nullptr;
  try {
    ScratchLease scratch;
    Parse(data, end, &scratch->arguments);
    for (const Overload& overload : family.overloads) {
      if (Match(data, overload, scratch->arguments, &scratch->stack, &scratch->positions)) {
        chosen = &overload;
        break;
      }
    }
    if (chosen == nullptr) NoOverload(data, family, scratch->arguments);
    chosen->handle.callBoxed(scratch->stack);
    WriteResults(data, *chosen, scratch->stack, scratch->positions);
  } catch (const TypeError& error) {
    const std::string text = error.what();
    napi_throw_type_error(env, nullptr, (text.rfind("aten::", 0) == 0 ? text : "aten::" + family.name + ": " + text).c_str());
  } catch (...) {
    ThrowToJs(env, "aten::" + family.name);
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
    if (family->overloads.empty()) throw TypeError("aten::" + name + " cannot be called from JavaScript:" + reasons);
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
