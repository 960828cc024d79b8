// Process groups and their collectives: Gloo, and NCCL where libtorch and its headers have it.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#ifdef RN_HAVE_NCCL
#include <nccl.h>
#include <torch/csrc/cuda/nccl.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <algorithm>
#include <unordered_map>

#include "addon.h"
#include "async.h"
#include "autograd.h"
#include "devices.h"
#include "distributed.h"

namespace rn {

Handles<c10d::ProcessGroup>& Groups() {
  static auto* groups = new Handles<c10d::ProcessGroup>("process group");
  return *groups;
}

namespace {

using c10d::ProcessGroup;
using c10d::ReduceOp;
using c10d::Work;
using std::chrono::milliseconds;

Handles<Work>& Works() {
  static auto* works = new Handles<Work>("work");
  return *works;
}

c10::intrusive_ptr<c10d::Backend> MakeGloo(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                           milliseconds timeout, const std::string& address,
                                           const std::string& interface) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  options->devices.push_back(interface.empty() ? c10d::ProcessGroupGloo::createDeviceForHostname(address)
                                               : c10d::ProcessGroupGloo::createDeviceForInterface(interface));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>("cpu", store),
                                                     rank, size, options);
}

#ifdef RN_HAVE_NCCL
// The header that this was compiled with lays out options that libtorch reads.
void CheckNcclVersion() {
  const auto version = torch::cuda::nccl::version();  // 16 bits a part, the major one above the lower 32
  const auto major = version >> 32, minor = (version >> 16) & 0xffff;
  if (major == NCCL_MAJOR && minor == NCCL_MINOR) return;
  const auto text = [](auto a, auto b) { return std::to_string(a) + "." + std::to_string(b); };
  throw std::runtime_error("this addon was built with nccl.h of NCCL " + text(NCCL_MAJOR, NCCL_MINOR) +
                           ", but libtorch has NCCL " + text(major, minor) +
                           ": build it with the header that belongs to libtorch, which its wheel brings "
                           "along as nvidia/nccl/include, or use the backend 'gloo'");
}

c10::intrusive_ptr<c10d::Backend> MakeNccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                           milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(c10::make_intrusive<c10d::PrefixStore>("cuda", store),
                                                     rank, size, options);
}
#endif

// groupNew(storeId, rank, size, nccl, timeoutMs, address, interface) -> Promise<id>. Tensors on the CPU go
// through Gloo in any case; those on CUDA with `nccl` through NCCL, else through Gloo too, by way of the CPU.
Napi::Value GroupNew(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const auto store = Stores().get(info[0]);
    const int rank = info[1].As<Napi::Number>().Int32Value();
    const int size = info[2].As<Napi::Number>().Int32Value();
    const bool nccl = info[3].ToBoolean();
    const milliseconds timeout(info[4].As<Napi::Number>().Int64Value());
#ifdef RN_HAVE_NCCL
    if (nccl) CheckNcclVersion();
#else
    if (nccl) {
      throw std::runtime_error(
          "this build has no NCCL: use the backend 'gloo', or build the addon where NCCL's header nccl.h is "
          "(npm run setup says what it found)");
    }
#endif
    auto group = std::make_shared<c10::intrusive_ptr<ProcessGroup>>();
    return Promise(
        info.Env(),
        [=, address = info[5].ToString().Utf8Value(), interface = info[6].ToString().Utf8Value()] {
          auto made = c10::make_intrusive<ProcessGroup>(store, rank, size);
          const auto gloo = MakeGloo(store, rank, size, timeout, address, interface);
          made->setBackend(c10::DeviceType::CPU, ProcessGroup::GLOO, gloo);
          if (!nccl && at::hasCUDA()) made->setBackend(c10::DeviceType::CUDA, ProcessGroup::GLOO, gloo);
          made->setDefaultBackend(ProcessGroup::GLOO);
#ifdef RN_HAVE_NCCL
          if (nccl) {
            made->setBackend(c10::DeviceType::CUDA, ProcessGroup::NCCL, MakeNccl(store, rank, size, timeout));
            made->setDefaultBackend(ProcessGroup::NCCL);
          }
#endif
          *group = std::move(made);
        },
        [=](Napi::Env env) -> napi_value { return Napi::Number::New(env, Groups().add(*group)); });
  });
}

// groupClose(id, graceful) -> Promise: connections end after what is under way, or with it. Where a member is
// gone it may never be done, so it holds no event loop.
Napi::Value GroupClose(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    auto group = Groups().take(info[0]);
    if (group) CloseReducersOf(*group);
    return Promise(
        info.Env(),
        [group = std::move(group), graceful = info[1].ToBoolean().Value(), cuda = CudaThread::OfCaller()] {
          if (!group) return;
          cuda.enter();
          if (!graceful) return group->abort();
          try {
            group->shutdown();
          } catch (...) {
            // Without it, the destructor would end the process.
            group->abort();
            throw;
          }
        },
        [](Napi::Env env) -> napi_value { return env.Undefined(); }, false);
  });
}

struct Call {
  c10d::Backend& backend;
  variable_list inputs;
  variable_list outputs;
  int number;  // root, peer
  ReduceOp op;
  std::vector<int64_t> outputSplits, inputSplits;  // rows a rank; of an exchange, the peers
  int tag;
};

// Several at once, as one.
class Together : public Work {
 public:
  explicit Together(std::vector<c10::intrusive_ptr<Work>> parts) : parts_(std::move(parts)) {}
  bool wait(milliseconds timeout) override {
    return std::all_of(parts_.begin(), parts_.end(), [&](const auto& part) { return part->wait(timeout); });
  }

 private:
  std::vector<c10::intrusive_ptr<Work>> parts_;
};

// Sends all inputs and receives all outputs at once. One after the other, NCCL would wait in the first for a
// peer that waits in its own first.
c10::intrusive_ptr<Work> Exchange(Call& call) {
  auto& backend = call.backend;
  std::vector<c10::intrusive_ptr<Work>> works;
  const auto begin = [&] {
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      variable_list one{call.inputs[i]};
      works.push_back(backend.send(one, static_cast<int>(call.inputSplits[i]), 0));
    }
    for (size_t i = 0; i < call.outputs.size(); ++i) {
      variable_list one{call.outputs[i]};
      works.push_back(backend.recv(one, static_cast<int>(call.outputSplits[i]), 0));
    }
  };
  if (!backend.supportsCoalescing()) {
    begin();
    return c10::make_intrusive<Together>(std::move(works));
  }
  backend.startCoalescing();
  try {
    begin();
  } catch (...) {
    backend.endCoalescing();
    throw;
  }
  return backend.endCoalescing();
}

void CheckTag(const Call& call) {
  if (call.tag == 0 || call.backend.getBackendName() != "nccl") return;
  throw TypeError(
      "NCCL knows no tags: what is sent to a process is received in the same order; leave out the tag");
}

using Start = c10::intrusive_ptr<Work> (*)(Call&);

template <class Options>
Options Rooted(const Call& call) {
  Options options;
  options.rootRank = call.number;
  return options;
}

// What each collective is given: inputs, outputs and so on as src/torch/distributed/group.ts lays them out.
const std::unordered_map<std::string, Start>& Collectives() {
  static const auto* table = new std::unordered_map<std::string, Start>{
      {"broadcast", [](Call& c) { return c.backend.broadcast(c.inputs, Rooted<c10d::BroadcastOptions>(c)); }},
      {"all_reduce",
       [](Call& c) {
         c10d::AllreduceOptions options;
         options.reduceOp = c.op;
         return c.backend.allreduce(c.inputs, options);
       }},
      {"reduce",
       [](Call& c) {
         auto options = Rooted<c10d::ReduceOptions>(c);
         options.reduceOp = c.op;
         return c.backend.reduce(c.inputs, options);
       }},
      {"all_gather",
       [](Call& c) {
         std::vector<variable_list> outputs{c.outputs};
         return c.backend.allgather(outputs, c.inputs);
       }},
      {"all_gather_stacked", [](Call& c) { return c.backend._allgather_base(c.outputs[0], c.inputs[0]); }},
      {"gather",
       [](Call& c) {
         std::vector<variable_list> outputs;
         if (c.backend.getRank() == c.number) outputs.push_back(c.outputs);
         return c.backend.gather(outputs, c.inputs, Rooted<c10d::GatherOptions>(c));
       }},
      {"scatter",
       [](Call& c) {
         std::vector<variable_list> inputs;
         if (c.backend.getRank() == c.number) inputs.push_back(c.inputs);
         return c.backend.scatter(c.outputs, inputs, Rooted<c10d::ScatterOptions>(c));
       }},
      {"reduce_scatter",
       [](Call& c) {
         c10d::ReduceScatterOptions options;
         options.reduceOp = c.op;
         return c.backend._reduce_scatter_base(c.outputs[0], c.inputs[0], options);
       }},
      {"all_to_all",
       [](Call& c) {
         return c.backend.alltoall_base(c.outputs[0], c.inputs[0], c.outputSplits, c.inputSplits);
       }},
      {"send",
       [](Call& c) {
         CheckTag(c);
         return c.backend.send(c.inputs, c.number, c.tag);
       }},
      {"recv",
       [](Call& c) {
         CheckTag(c);
         return c.backend.recv(c.inputs, c.number, c.tag);
       }},
      {"exchange", Exchange},
      {"barrier", [](Call& c) { return c.backend.barrier(); }},
  };
  return *table;
}

std::vector<int64_t> Integers(const Napi::Value& value) {
  std::vector<int64_t> result;
  if (!value.IsArray()) return result;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    result.push_back(Napi::Value(array[i]).As<Napi::Number>().Int64Value());
  }
  return result;
}

// collective(groupId, name, inputs[], outputs[], number, op, outputSplits[], inputSplits[], tag) -> work id.
// libtorch's work holds the tensors until it is done.
Napi::Value Collective(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const auto group = Groups().get(info[0]);
    const std::string name = info[1].ToString().Utf8Value();
    variable_list inputs = TensorList(info[2]);
    variable_list outputs = TensorList(info[3]);
    const auto device = !inputs.empty()    ? inputs[0].device().type()
                        : !outputs.empty() ? outputs[0].device().type()
                                           : c10::DeviceType::CPU;
    if (!group->hasBackendForDeviceType(device)) {
      throw TypeError("this process group has no backend for tensors on " +
                      c10::DeviceTypeName(device, true) +
                      ": move them to the CPU, or use the backend 'nccl'");
    }
    Call call{*group->getBackend(device),
              std::move(inputs),
              std::move(outputs),
              info[4].As<Napi::Number>().Int32Value(),
              ReduceOp(static_cast<ReduceOp::RedOpType>(info[5].As<Napi::Number>().Uint32Value())),
              Integers(info[6]),
              Integers(info[7]),
              info[8].As<Napi::Number>().Int32Value()};
    const auto& [key, start] = *Collectives().find(name);
    NoteCollective(key.c_str());
    try {
      return Napi::Number::New(info.Env(), Works().add(start(call)));
    } catch (...) {
      if (device == c10::DeviceType::CPU || call.backend.getBackendName() != "gloo") throw;
      throw std::runtime_error(
          "Gloo has no " + key + " of these tensors on " + c10::DeviceTypeName(device, true) +
          ": move them to the CPU, or use the backend 'nccl', for which the addon is to be built "
          "where NCCL's header nccl.h is (" +
          MessageInFlight() + ")");
    }
  });
}

void Finish(Work& work) {
  if (!work.wait()) throw std::runtime_error("the operation was aborted");
}

// workWait(id): blocks the JavaScript thread. With NCCL it is the current CUDA stream that waits.
void WorkWait(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const auto work = Works().take(info[0]);
    if (!work) return;
    try {
      Finish(*work);
    } catch (...) {
      throw std::runtime_error(MessageInFlight());
    }
  });
}

// workPromise(id) -> Promise: waits on a native thread; with NCCL it is the caller's CUDA stream that waits.
Napi::Value WorkPromise(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&] {
    const auto work = Works().take(info[0]);
    return Promise(
        info.Env(),
        [work, cuda = CudaThread::OfCaller()] {
          if (!work) return;
          cuda.enter();
          Finish(*work);
        },
        [](Napi::Env env) -> napi_value { return env.Undefined(); });
  });
}

void WorkForget(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] { Works().take(info[0]); });
}

Napi::Value HasNccl(const Napi::CallbackInfo& info) {
#ifdef RN_HAVE_NCCL
  return Napi::Boolean::New(info.Env(), true);
#else
  return Napi::Boolean::New(info.Env(), false);
#endif
}

}  // namespace

void InitDistributedGroup(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("groupNew", GroupNew);
  add("groupClose", GroupClose);
  add("collective", Collective);
  add("workWait", WorkWait);
  add("workPromise", WorkPromise);
  add("workForget", WorkForget);
  add("hasNccl", HasNccl);
}

}  // namespace rn
