// CUDA's operators: the CPU's kernels on the memory of the device. Loading this library puts them in the
// place of the real ones. Convolutions and attention come by ways that need neither cuDNN nor fused kernels.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/NativeFunctions.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <ATen/cuda/EmptyTensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <cstring>
#include <unordered_set>

#include "device.h"

namespace {

using at::Tensor;
using c10::IValue;
using c10::OperatorHandle;
using torch::jit::Stack;

std::string nameOf(const OperatorHandle& op) {
  const auto& name = op.operator_name();
  return name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
}

// --- tensors of the device as tensors of the CPU ---

// A tensor of the CPU on the same memory.
Tensor onHost(const Tensor& t) {
  if (!t.defined() || !t.is_cuda()) return t;
  void* bytes = t.numel() > 0 ? sim::real(t.unsafeGetTensorImpl()->data()) : nullptr;
  Tensor result = at::from_blob(bytes, t.sizes(), t.strides(), at::TensorOptions().dtype(t.dtype()));
  result._set_conj(t.is_conj());
  result._set_neg(t.is_neg());
  if (t.unsafeGetTensorImpl()->is_wrapped_number()) result.unsafeGetTensorImpl()->set_wrapped_number(true);
  return result;
}

// The same tensor without a share in its memory: what a recording keeps.
Tensor unowned(const Tensor& t) {
  if (!t.defined() || !t.is_cuda()) return t;
  return at::from_blob(
      t.unsafeGetTensorImpl()->mutable_data(), t.sizes(), t.strides(), [](void*) {}, t.options(), t.device());
}

Tensor emptyOnDevice(const Tensor& like, c10::Device device) {
  return at::detail::empty_strided_cuda(like.sizes(), like.strides(),
                                        at::TensorOptions().dtype(like.dtype()).device(device));
}

void copyToDevice(const Tensor& to, const Tensor& from) {
  if (!to.defined() || to.numel() == 0) return;
  const Tensor target = onHost(to);
  TORCH_CHECK(target.sizes() == from.sizes(), "a recorded operator gives a result of another shape");
  at::AutoDispatchBelowADInplaceOrView below;
  target.copy_(from.resolve_conj().resolve_neg());
}

template <class F>
void forEachTensor(const IValue& value, F&& body) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) body(value.toTensor());
  } else if (value.isList()) {
    for (const IValue& item : value.toListRef()) forEachTensor(item, body);
  }
}

template <class F>
IValue mapTensors(const IValue& value, F&& map) {
  if (value.isTensor()) return value.toTensor().defined() ? IValue(map(value.toTensor())) : value;
  if (value.isTensorList()) {
    c10::List<Tensor> mapped;
    for (const Tensor& t : value.toTensorVector()) mapped.push_back(map(t));
    return mapped;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<Tensor>> mapped;
    for (const auto& t : value.toOptionalTensorVector())
      mapped.push_back(t ? std::optional(map(*t)) : std::nullopt);
    return mapped;
  }
  return value;
}

sim::Range rangeOf(const Tensor& t) {
  if (t.numel() == 0) return {nullptr, 0};
  int64_t last = 0;
  for (int64_t i = 0; i < t.dim(); ++i) last += (t.size(i) - 1) * t.stride(i);
  return {t.unsafeGetTensorImpl()->mutable_data(), static_cast<size_t>((last + 1) * t.element_size())};
}

bool writes(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

// --- random numbers: a generator of the CPU, seeded by where the device's generator is ---

void callWith(at::Generator generator, const OperatorHandle& op, Stack& stack) {
  const auto& arguments = op.schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].type()->str().find("Generator") == std::string::npos) continue;
    stack[i] = generator;
    return op.callBoxed(&stack);
  }
  // An operator that takes none draws from the default one.
  at::Generator usual = at::detail::getDefaultCPUGenerator();
  const Tensor before = usual.get_state();
  usual.set_state(generator.get_state());
  try {
    op.callBoxed(&stack);
  } catch (...) {
    usual.set_state(before);
    throw;
  }
  usual.set_state(before);
}

at::Generator seeded(const at::PhiloxCudaState& philox) {
  const auto read = [&](const auto& part) {
    return philox.captured_ ? static_cast<uint64_t>(*static_cast<int64_t*>(sim::real(part.ptr))) : part.val;
  };
  const uint64_t offset = read(philox.offset_) + philox.offset_intragraph_;
  return at::detail::createCPUGenerator(read(philox.seed_) * 0x9e3779b97f4a7c15ull +
                                        offset * 0xbf58476d1ce4e5b9ull);
}

// Softmax from short numbers into float32, and back, in one is a matter of kernels: the CPU takes two steps.
void callOnHost(const OperatorHandle& op, Stack& stack) {
  const std::string name = nameOf(op);
  if ((name == "aten::_softmax" || name == "aten::_log_softmax") && stack[2].toBool()) {
    stack[0] = stack[0].toTensor().to(at::kFloat);
    stack[2] = false;
  }
  std::optional<at::ScalarType> narrowed;
  if (name == "aten::_softmax_backward_data" || name == "aten::_log_softmax_backward_data") {
    narrowed = stack[3].toScalarType();
    stack[3] = stack[0].toTensor().scalar_type();
  }
  op.callBoxed(&stack);
  if (narrowed) stack[0] = stack[0].toTensor().to(*narrowed);
}

// --- one call of an operator, which a recording repeats ---

class Call {
 public:
  Call(const OperatorHandle& op, Stack arguments, c10::Device device)
      : op_(op), device_(device), given_(std::move(arguments)) {
    for (const IValue& value : given_) {
      host_.push_back(value.isDevice() ? IValue(c10::Device(at::kCPU)) : mapTensors(value, onHost));
    }
    const auto& schema = op_.schema().arguments();
    for (size_t i = 0; i < schema.size(); ++i) {
      if (schema[i].is_out() && given_[i].isTensor()) outs_.emplace_back(i, given_[i].toTensor());
    }
  }

  void drawFrom(const at::PhiloxCudaState& philox) { philox_ = philox; }

  std::vector<sim::Range> written() const {
    std::vector<sim::Range> result;
    const auto add = [&](const Tensor& t) {
      if (const auto range = rangeOf(t); range.size > 0) result.push_back(range);
    };
    const auto& schema = op_.schema().arguments();
    for (size_t i = 0; i < schema.size(); ++i) {
      // Batch normalisation's schema does not say that it writes the running statistics.
      const std::string& name = op_.schema().name();
      const bool statistics = (i == 3 || i == 4) && (name == "aten::native_batch_norm" ||
                                                     name == "aten::batch_norm_gather_stats_with_counts");
      if (writes(schema[i]) || statistics) forEachTensor(given_[i], add);
    }
    return result;
  }

  void operator()() {
    Stack stack = host_;
    // Results given by the caller may be of another size yet.
    for (const auto& [i, out] : outs_) stack[i] = onHost(out).clone();
    {
      at::AutoDispatchBelowADInplaceOrView below;
      c10::impl::ExcludeDispatchKeyGuard noAutocast(c10::autocast_dispatch_keyset);
      if (philox_) {
        callWith(seeded(*philox_), op_, stack);
      } else {
        callOnHost(op_, stack);
      }
    }
    if (results_.empty()) makeResults(stack);
    const auto& returns = op_.schema().returns();
    for (size_t i = 0; i < stack.size(); ++i) {
      if (writes(returns[i]) && outs_.empty()) continue;
      std::vector<Tensor> to;
      forEachTensor(results_[i], [&](const Tensor& t) { to.push_back(t); });
      size_t next = 0;
      forEachTensor(stack[i], [&](const Tensor& from) { copyToDevice(to[next++], from); });
    }
  }

  const Stack& results() const { return results_; }

  void forgetOwners() {
    given_.clear();
    for (IValue& value : results_) value = mapTensors(value, unowned);
    for (auto& [i, out] : outs_) out = unowned(out);
  }

 private:
  void makeResults(const Stack& made) {
    const auto& returns = op_.schema().returns();
    for (size_t i = 0; i < made.size(); ++i) {
      results_.push_back(
          writes(returns[i]) ? argumentOf(returns[i], made[i]) : mapTensors(made[i], [&](const Tensor& t) {
            return t.defined() ? emptyOnDevice(t.resolve_conj().resolve_neg(), device_) : t;
          }));
    }
  }
  // The argument that a result is.
  IValue argumentOf(const c10::Argument& result, const IValue& made) {
    const auto& schema = op_.schema().arguments();
    for (size_t i = 0; i < schema.size(); ++i) {
      if (!writes(schema[i]) || schema[i].alias_info()->beforeSets() != result.alias_info()->beforeSets())
        continue;
      if (schema[i].is_out() && given_[i].toTensor().sizes() != made.toTensor().sizes()) {
        given_[i].toTensor().resize_(made.toTensor().sizes());
      }
      return given_[i];
    }
    TORCH_CHECK(false, nameOf(op_), ": a result of which no argument is known");
  }

  OperatorHandle op_;
  c10::Device device_;
  Stack given_, host_, results_;
  std::vector<std::pair<size_t, Tensor>> outs_;
  std::optional<at::PhiloxCudaState> philox_;
};

// --- what differs from operator to operator ---

// Their results, or the shapes of these, are read by the host: they wait for the device.
bool waits(const std::string& name, const Stack& arguments) {
  static const std::unordered_set<std::string> always{"aten::_local_scalar_dense",
                                                      "aten::nonzero",
                                                      "aten::masked_select",
                                                      "aten::_unique2",
                                                      "aten::unique_dim",
                                                      "aten::equal",
                                                      "aten::unique_consecutive",
                                                      "aten::unique_dim_consecutive",
                                                      "aten::bincount",
                                                      "aten::is_nonzero"};
  if (always.count(name) > 0) return true;
  if (name != "aten::index.Tensor" && name != "aten::_index_put_impl_") return false;
  bool masks = false;
  forEachTensor(arguments[1], [&](const Tensor& index) {
    masks = masks || index.scalar_type() == at::kBool || index.scalar_type() == at::kByte;
  });
  return masks;
}

// Kept as they are: they make or look at tensors and start no kernel.
bool kept(const std::string& name) {
  static const std::unordered_set<std::string> names{"aten::empty.memory_format",
                                                     "aten::empty_strided",
                                                     "aten::resize_",
                                                     "aten::set_",
                                                     "aten::set_.source_Storage",
                                                     "aten::copy_",
                                                     "aten::record_stream",
                                                     "aten::is_pinned",
                                                     "aten::_pin_memory",
                                                     "aten::is_set_to",
                                                     "aten::_resize_output_",
                                                     "aten::_efficientzerotensor",
                                                     "aten::set_.source_Storage_storage_offset",
                                                     "aten::set_.source_Tensor"};
  return names.count(name) > 0;
}

void checkDevices(const std::string& name, const Stack& arguments, c10::Device device) {
  for (const IValue& value : arguments) {
    forEachTensor(value, [&](const Tensor& t) {
      const bool number = t.is_cpu() && (t.dim() == 0 || name.find("index") != std::string::npos);
      TORCH_CHECK(t.device() == device || number,
                  "Expected all tensors to be on the same device, but found at least two devices, ", device,
                  " and ", t.device(), "! (", name, ")");
    });
  }
}

// An index out of range is found by a kernel: it stops the device.
bool isBadIndex(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.find("Dimension") == std::string::npos &&
         (text.find("out of range") != std::string::npos || text.find("out of bounds") != std::string::npos);
}

void simulate(const OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const std::string name = nameOf(op);
  const size_t count = op.schema().arguments().size();
  Stack arguments(stack->end() - count, stack->end());
  stack->resize(stack->size() - count);

  std::optional<c10::Device> device;
  std::optional<at::Generator> generator;
  for (const IValue& value : arguments) {
    forEachTensor(value, [&](const Tensor& t) {
      if (!device && t.is_cuda()) device = t.device();
    });
    if (value.isDevice()) device = value.toDevice();
    if (value.isGenerator()) generator = value.toGenerator();
  }
  if (!device || !device->has_index()) device = c10::Device(at::kCUDA, c10::cuda::current_device());
  const c10::cuda::CUDAGuard guard(*device);
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  const bool recorded = sim::recording(stream);
  sim::trace("%s%s", name.c_str(), recorded ? ", recorded" : "");
  checkDevices(name, arguments, *device);
  if (waits(name, arguments)) C10_CUDA_CHECK(cudaStreamSynchronize(stream));

  const auto call = std::make_shared<Call>(op, std::move(arguments), *device);
  if (op.hasTag(at::Tag::nondeterministic_seeded)) {
    auto* its = at::get_generator_or_default<at::CUDAGeneratorImpl>(
        generator, at::cuda::detail::getDefaultCUDAGenerator(device->index()));
    std::lock_guard lock(its->mutex_);
    call->drawFrom(its->philox_cuda_state(4));
  }
  try {
    C10_CUDA_CHECK(sim::run(
        stream, [call] { (*call)(); }, call->written()));
  } catch (const c10::Error& error) {
    if (!isBadIndex(error)) throw;
    sim::fail(cudaErrorAssert);
    C10_CUDA_CHECK(cudaGetLastError());
  }
  for (const IValue& result : call->results()) stack->push_back(result);
  if (recorded) call->forgetOwners();
}

// Between devices and the host libtorch's own copying is what is to be tried; within a device it would be a
// kernel.
Tensor& copy(Tensor& self, const Tensor& from, bool nonBlocking) {
  if (!self.is_cuda() || self.device() != from.device()) return at::native::copy_(self, from, nonBlocking);
  static const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("aten::copy_", "");
  Stack stack{self, from, nonBlocking};
  simulate(op, c10::DispatchKeySet(c10::DispatchKey::CUDA), &stack);
  return self;
}

struct Silent : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

bool isSimulated(const OperatorHandle& op) {
  const std::string name = nameOf(op);
  const auto has = [&](c10::DispatchKey key) { return op.hasKernelForDispatchKey(key); };
  if (name == "aten::convolution" || name == "aten::convolution_backward") return true;
  if (name.rfind("aten::", 0) != 0 || kept(name) || !has(c10::DispatchKey::CUDA)) return false;
  const auto& returns = op.schema().returns();
  const bool view = std::any_of(returns.begin(), returns.end(), [](const c10::Argument& result) {
    return result.alias_info() != nullptr && !result.alias_info()->isWrite();
  });
  return !view && (has(c10::DispatchKey::CPU) || has(c10::DispatchKey::CompositeExplicitAutograd) ||
                   has(c10::DispatchKey::CompositeExplicitAutogradNonFunctional));
}

const bool installed = [] {
  Silent silent;
  auto* const before = c10::WarningUtils::get_warning_handler();
  c10::WarningUtils::set_warning_handler(&silent);
  sim::addBatchNorm();
  static auto* const handles = new std::vector<c10::RegistrationHandleRAII>;
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findSchema(name);
    if (!op || !isSimulated(*op)) continue;
    handles->push_back(dispatcher.registerImpl(name, c10::DispatchKey::CUDA,
                                               c10::KernelFunction::makeFromBoxedFunction<&simulate>(),
                                               std::nullopt, nullptr, "simulated CUDA"));
  }
  static auto* const library =
      new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  library->impl("copy_", copy);
  c10::WarningUtils::set_warning_handler(before);
  auto& context = at::globalContext();
  context.setUserEnabledCuDNN(false);
  context.setSDPUseFlash(false);
  context.setSDPUseMemEfficient(false);
  context.setSDPUseCuDNN(false);
  return true;
}();

}  // namespace
