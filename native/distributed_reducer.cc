// Gradients averaged over processes while backward runs: libtorch's own reducer.
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <memory>
#include <type_traits>
#include <unordered_map>

#include "addon.h"
#include "autograd.h"
#include "distributed.h"

namespace rn {

namespace {

using c10d::Reducer;
using Buckets = std::vector<std::vector<size_t>>;
using GroupPtr = c10::intrusive_ptr<c10d::ProcessGroup>;
using Names = std::unordered_map<size_t, std::string>;

// The reducer speaks to a logger without asking whether there is one.
struct Averaging {
  std::shared_ptr<Reducer> reducer;
  std::shared_ptr<c10d::Logger> logger;
  const c10d::ProcessGroup* group;
};

std::unordered_map<int64_t, Averaging>& Reducers() {
  static auto* reducers = new std::unordered_map<int64_t, Averaging>;
  return *reducers;
}
int64_t lastReducer = 0;

// Each libtorch since 2.11 has added arguments at the end.
template <class R = Reducer>
std::shared_ptr<R> Make(const variable_list& params, const Buckets& buckets, const GroupPtr& group,
                        int64_t cap, bool unused, bool view, const Names& names, int64_t firstCap) {
  const std::vector<bool> sparse(params.size(), false);
  if constexpr (std::is_constructible_v<R, variable_list, Buckets, GroupPtr, std::vector<bool>, int64_t, bool,
                                        bool, Names, int64_t, bool, bool, std::vector<int64_t>>) {
    return std::make_shared<R>(params, buckets, group, sparse, cap, unused, view, names, firstCap, false,
                               false, std::vector<int64_t>{});
  } else if constexpr (std::is_constructible_v<R, variable_list, Buckets, GroupPtr, std::vector<bool>,
                                               int64_t, bool, bool, Names, int64_t, bool, bool>) {
    return std::make_shared<R>(params, buckets, group, sparse, cap, unused, view, names, firstCap, false,
                               false);
  } else {
    return std::make_shared<R>(params, buckets, group, sparse, cap, unused, view, names, firstCap);
  }
}

// reducerNew(groupId, params[], names[], capBytes, firstCapBytes, findUnused, gradientAsBucketView) -> id
Napi::Value ReducerNew(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto group = Groups().get(info[0]);
    const variable_list params = TensorList(info[1]);
    const auto given = info[2].As<Napi::Array>();
    Names names;
    for (uint32_t i = 0; i < given.Length(); ++i) names[i] = Napi::Value(given[i]).ToString().Utf8Value();
    const auto cap = info[3].As<Napi::Number>().Int64Value();
    const auto firstCap = info[4].As<Napi::Number>().Int64Value();
    const bool unused = info[5].ToBoolean();
    // As Python: where buckets are never rebuilt in the order of use, the first one must be small from the
    // start.
    std::vector<size_t> caps{static_cast<size_t>(cap)};
    if (unused) caps.insert(caps.begin(), static_cast<size_t>(firstCap));
    auto [buckets, limits] = c10d::compute_bucket_assignment_by_size(params, caps);
    // Gradients become ready about in the reverse of the order in which parameters were made.
    std::reverse(buckets.begin(), buckets.end());
    auto reducer = Make(params, buckets, group, cap, unused, info[6].ToBoolean(), names, firstCap);
    auto logger = std::make_shared<c10d::Logger>(reducer);
    reducer->set_logger(logger);
    Reducers()[++lastReducer] = {std::move(reducer), std::move(logger), group.get()};
    return Napi::Number::New(info.Env(), static_cast<double>(lastReducer));
  });
}

std::shared_ptr<Reducer> Find(const Napi::Value& id) {
  const auto found = Reducers().find(id.As<Napi::Number>().Int64Value());
  if (found == Reducers().end()) throw TypeError("this DistributedDataParallel has been closed");
  return found->second.reducer;
}

// reducerForward(id, averaging): before forward. After the first backward, buckets are arranged in the order
// of use.
void ReducerForward(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const auto reducer = Find(info[0]);
    if (info[1].ToBoolean()) reducer->prepare_for_forward();
    reducer->rebuild_buckets();
  });
}

// reducerBackward(id, outputs[]): after forward, when backward is to average. Outputs are those whose graph
// tells which parameters take no part; none where all do.
void ReducerBackward(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    NoteCollective("gradient all_reduce");
    Find(info[0])->prepare_for_backward(TensorList(info[1]));
  });
}

void ReducerClose(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const int64_t id = info[0].As<Napi::Number>().Int64Value();
    std::erase_if(Reducers(), [id](const auto& item) { return item.first == id; });
  });
}

// broadcastCoalesced(groupId, ids[]): rank 0's values for all, in place and in few messages. Blocks.
void BroadcastCoalesced(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    constexpr size_t kMessageBytes = size_t{250} << 20;
    const variable_list tensors = TensorList(info[1]);
    if (tensors.empty()) return;
    NoteCollective("broadcast");
    at::NoGradGuard guard;
    c10d::broadcast_coalesced(Groups().get(info[0]), tensors, kMessageBytes);
  });
}

}  // namespace

void CloseReducersOf(const c10d::ProcessGroup& group) {
  std::erase_if(Reducers(), [&group](const auto& item) { return item.second.group == &group; });
}

void InitDistributedReducer(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("broadcastCoalesced", BroadcastCoalesced);
  add("reducerNew", ReducerNew);
  add("reducerForward", ReducerForward);
  add("reducerBackward", ReducerBackward);
  add("reducerClose", ReducerClose);
}

}  // namespace rn
