// Guards of neural-network operators and their backward forms.
#include "guards.h"

#include <ATen/Functions.h>

namespace rn {

namespace {

void PoolBackward(const Given& given, int64_t spatial) {
  const at::Tensor grad = given.tensor("grad_output");
  const at::Tensor self = given.tensor("self");
  NeedDense(grad, "grad_output");
  NeedDense(self, "self");
  Need(self.dim() == spatial + 1 || self.dim() == spatial + 2, "self has the wrong number of dimensions");
  Need(grad.dim() == self.dim() &&
           grad.sizes().slice(0, self.dim() - spatial) == self.sizes().slice(0, self.dim() - spatial),
       "grad_output must have the batch and channels of self");
}

// A statistic or weight a channel, or none.
void PerChannel(const Given& given, const char* name, int64_t channels) {
  const at::Tensor tensor = given.tensor(name);
  if (!tensor.defined()) return;
  NeedDense(tensor, name);
  Need(tensor.numel() == channels && tensor.dim() == 1,
       "weight, bias and statistics must have an element a channel");
}

void BatchNorm(const Given& given) {
  const at::Tensor input = given.tensor("input");
  if (!input.is_mkldnn()) NeedDense(input, "input");
  Need(input.dim() >= 2, "input must have at least two dimensions");
  for (const char* name :
       {"weight", "bias", "running_mean", "running_var", "save_mean", "save_invstd", "save_var"}) {
    const bool isOutput =
        given.has("out") && (std::string(name) == "save_mean" || std::string(name) == "save_invstd");
    if (!isOutput) PerChannel(given, name, input.size(1));
  }
  const std::string name = given.schema().name();
  const bool evaluates =
      name == "aten::_batch_norm_no_update" ||
      (name == "aten::_native_batch_norm_legit" || name == "aten::native_batch_norm" ||
               name == "aten::native_batch_norm_backward" || name == "aten::batch_norm_backward" ||
               name == "aten::_batch_norm_impl_index_backward"
           ? !given.flag("training", given.flag("train", given.flag("update", true)))
           : false);
  Need(!evaluates || (given.has("running_mean") && given.has("running_var")),
       "running_mean and running_var are required unless training");
  const at::Tensor grad = given.tensor(given.has("grad_out") ? "grad_out" : "grad_output");
  if (!grad.defined()) return;
  NeedDense(grad, "the gradient");
  Need(SameSizes(grad, input) && SameType(grad, input), "the gradient must have the size and dtype of input");
  Need(given.integer("impl_index") == 0, "impl_index must be 0 on the CPU");
  const char* saved = name == "aten::_batch_norm_impl_index_backward" ? "save_var_transform"
                      : name == "aten::batch_norm_backward"           ? "save_var"
                                                                      : "save_invstd";
  Need(evaluates || (given.has("save_mean") && given.has(saved)),
       "the saved statistics are required when training");
  PerChannel(given, saved, input.size(1));
}

void GroupNorm(const Given& given) {
  const at::Tensor input = given.tensor("input");
  NeedDense(input, "input");
  const int64_t n = given.integer("N");
  const int64_t c = given.integer("C");
  const int64_t area = given.integer("HxW");
  const int64_t group = given.integer("group");
  Need(n >= 0 && c >= 1 && area >= 0 && group >= 1 && c % group == 0,
       "N, C, HxW and group do not belong together");
  int64_t product = 0;
  Need(!__builtin_mul_overflow(n, c, &product) && !__builtin_mul_overflow(product, area, &product) &&
           product == input.numel(),
       "N * C * HxW must be the number of elements of input");
  PerChannel(given, "weight", c);
  PerChannel(given, "bias", c);
  for (const char* name : {"mean", "rstd"}) {
    const at::Tensor statistic = given.tensor(name);
    Need(!statistic.defined() || statistic.numel() == n * group,
         "mean and rstd must have an element a group");
  }
  const at::Tensor grad = given.tensor("grad_out");
  Need(!grad.defined() || grad.numel() == input.numel(), "grad_out must have the size of input");
}

void WeightNorm(const Given& given) {
  const at::Tensor v = given.tensor(given.has("v") ? "v" : "saved_v");
  const at::Tensor g = given.tensor(given.has("g") ? "g" : "saved_g");
  NeedDense(v, "v");
  NeedDense(g, "g");
  Need(v.dim() >= 1 && v.numel() > 0, "v must not be empty");
  Need(SameType(v, g) && v.is_floating_point(), "v and g must have the same floating point dtype");
  const int64_t dim = given.integer("dim");
  const bool whole = given.schema().name() == "aten::_weight_norm" && dim != 0 && dim != v.dim() - 1;
  if (whole) return;  // composed of checked operators
  Need(dim == 0 || dim == v.dim() - 1, "dim must be the first or the last dimension");
  Need(g.numel() == v.size(dim) && g.dim() == v.dim() && g.size(dim) == v.size(dim),
       "g must have an element a row of dim");
  const at::Tensor grad = given.tensor("grad_w");
  const at::Tensor norms = given.tensor("saved_norms");
  Need(!grad.defined() || (SameSizes(grad, v) && SameType(grad, v)), "grad_w must be like saved_v");
  Need(!norms.defined() || norms.numel() == g.numel(), "saved_norms must be like saved_g");
}

void Gates(const Given& given, int64_t gates) {
  const at::Tensor input = given.tensor("input_gates");
  const at::Tensor hidden = given.tensor("hidden_gates");
  NeedDense(input, "input_gates");
  NeedDense(hidden, "hidden_gates");
  Need(input.dim() == 2 && input.size(1) > 0 && input.size(1) % gates == 0,
       "input_gates must be [batch, gates * size]");
  Need(SameSizes(input, hidden), "hidden_gates must have the size of input_gates");
  for (const char* name : {"hx", "cx", "cy", "grad_hy", "grad_cy"}) {
    const at::Tensor state = given.tensor(name);
    Need(!state.defined() ||
             (state.dim() == 2 && state.size(0) == input.size(0) && state.size(1) == input.size(1) / gates),
         "states must be [batch, size]");
  }
}

void Recurrent(const Given& given) {
  const std::string name = given.schema().name();
  const bool lstm = name == "aten::lstm";
  const auto params = given.tensors("params");
  const int64_t layers = given.integer("num_layers");
  const int64_t directions = given.flag("bidirectional") ? 2 : 1;
  Need(layers >= 1 && layers <= 1 << 16, "num_layers must be at least 1");
  if (lstm) Need(given.length("hx") == 2, "hx must hold the hidden and the cell state");
  const auto count = static_cast<int64_t>(params.size());
  const int64_t each = given.flag("has_biases") ? 4 : 2;
  Need(count == layers * directions * each || (lstm && count == layers * directions * (each + 1)),
       "params do not fit num_layers, has_biases and bidirectional");
  const at::Tensor sizes = given.tensor("batch_sizes");
  if (!sizes.defined()) return;
  NeedDense(sizes, "batch_sizes");
  const at::Tensor data = given.tensor("data");
  NeedDense(data, "data");
  Need(sizes.dim() == 1 && sizes.numel() > 0 && sizes.scalar_type() == c10::kLong && sizes.is_contiguous() &&
           sizes.device().is_cpu(),
       "batch_sizes must be one-dimensional, int64, on the CPU");
  const auto* values = sizes.const_data_ptr<int64_t>();
  int64_t sum = 0;
  for (int64_t i = 0; i < sizes.numel(); ++i) {
    Need(values[i] > 0 && values[i] <= data.numel() && (i == 0 || values[i] <= values[i - 1]),
         "batch_sizes must be positive and not rise");
    sum += values[i];
  }
  Need(data.dim() >= 1 && sum == data.size(0), "batch_sizes must add up to the rows of data");
}

void EmbeddingBackward(const Given& given) {
  const at::Tensor grad = given.tensor(given.has("grad_output") ? "grad_output" : "grad");
  const at::Tensor indices = given.tensor("indices");
  NeedDense(grad, "the gradient");
  NeedDense(indices, "indices");
  Need(IsIndex(indices), "indices must be int32 or int64");
  Need(grad.dim() >= 1 && grad.dim() == indices.dim() + 1 &&
           grad.sizes().slice(0, indices.dim()) == indices.sizes(),
       "the gradient must have the size of indices and one dimension more");
  Need(given.integer("num_weights") >= 0 && Within(indices, 0, given.integer("num_weights") - 1),
       "indices must lie between 0 and num_weights");
}

// Their kernels write one element after the other, whatever the strides.
void NeedDenseOut(const at::Tensor& out) {
  Need(!out.defined() || out.is_non_overlapping_and_dense(), "out must have no gaps in its memory");
}

void SoftmaxBackward(const Given& given) {
  NeedDenseOut(given.tensor(given.has("grad_input") ? "grad_input" : "out"));
  const at::Tensor grad = given.tensor("grad_output");
  const at::Tensor output = given.tensor("output");
  NeedDense(grad, "grad_output");
  NeedDense(output, "output");
  Need(SameSizes(grad, output), "grad_output must have the size of output");
  Need(output.dim() == 0 || Wrap(given.integer("dim"), output.dim()) >= 0, "dim is out of range");
}

// Whether elements lie in the same order. The stride of a dimension of one is never used, and convolutions
// choose it freely: the gradient of a 1 × 1 weight has another one than the weight.
bool SameLayout(const at::Tensor& a, const at::Tensor& b) {
  if (!SameSizes(a, b)) return false;
  for (int64_t dim = 0; dim < a.dim(); ++dim) {
    if (a.size(dim) != 1 && a.stride(dim) != b.stride(dim)) return false;
  }
  return true;
}

// Fused optimizers walk over the memory of all lists at once, as the parameter's memory lies.
void FusedStep(const Given& given) {
  const auto self = given.tensors("self");
  for (const char* name : {"grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs", "momentum_buffer_list",
                           "state_sums", "state_steps", "out"}) {
    const auto list = given.tensors(name);
    if (list.empty()) continue;
    Need(list.size() == self.size(), "all lists must have the same length");
    const bool steps = std::string(name) == "state_steps";
    for (size_t i = 0; i < list.size(); ++i) {
      NeedDense(list[i], name);
      Need(!steps || (list[i].numel() == 1 && list[i].scalar_type() == c10::kFloat),
           "steps must be float32 scalars");
      Need(steps || SameLayout(list[i], self[i]),
           "gradients and states must have the size and strides of their parameter");
    }
  }
  for (const at::Tensor& tensor : self) {
    NeedDense(tensor, "each parameter");
    Need(tensor.is_non_overlapping_and_dense(), "parameters must not overlap or have gaps");
  }
  Need(given.length("grads") == self.size(), "each parameter needs a gradient");
  const bool sgd = given.schema().name().find("sgd") != std::string::npos;
  Need(!sgd || given.number("momentum") == 0 || given.length("momentum_buffer_list") == self.size(),
       "momentum needs a buffer a parameter");
  for (const char* name : {"exp_avgs", "exp_avg_sqs", "state_sums", "state_steps"}) {
    for (const auto& argument : given.schema().arguments()) {
      Need(argument.name() != name || given.length(name) == self.size(),
           "all lists must have the same length");
    }
  }
  Need(!given.flag("amsgrad") || given.length("max_exp_avg_sqs") == self.size(),
       "amsgrad needs max_exp_avg_sqs");
}

// query [batch, heads, length, size], key and value [batch, heads, other length, size]; the rest follows
// query.
void FlashAttention(const Given& given) {
  const at::Tensor query = given.tensor("query");
  for (const char* name : {"query", "key", "value", "out", "grad_out"}) {
    const at::Tensor tensor = given.tensor(name);
    if (!tensor.defined()) continue;
    NeedDense(tensor, name);
    Need(tensor.dim() == 4 && tensor.numel() > 0 && SameType(tensor, query) && tensor.is_floating_point(),
         "query, key, value and what belongs to them must be four-dimensional, of one floating point dtype, "
         "not empty");
    Need(
        tensor.size(0) == query.size(0) && tensor.size(1) == query.size(1) && tensor.size(3) == query.size(3),
        "batch, heads and size must be the same");
  }
  Need(SameSizes(given.tensor("key"), given.tensor("value")), "key and value must have the same size");
  const at::Tensor grad = given.tensor("grad_out");
  if (!grad.defined()) return;
  Need(SameSizes(grad, query) && SameSizes(given.tensor("out"), query),
       "out and grad_out must have query's size");
  Need(given.tensor("logsumexp").numel() == query.size(0) * query.size(1) * query.size(2) &&
           given.tensor("logsumexp").dim() == 3 &&
           given.tensor("logsumexp").scalar_type() ==
               (query.scalar_type() == c10::kDouble ? c10::kDouble : c10::kFloat),
       "logsumexp must have an element a row of query");
  const at::Tensor mask = given.tensor("attn_mask");
  if (!mask.defined()) return;
  NeedDense(mask, "attn_mask");
  Need((mask.dim() == 2 || mask.dim() == 4) && mask.size(-2) == query.size(2) &&
           mask.size(-1) == given.tensor("key").size(2),
       "attn_mask must be [.., query length, key length]");
}

}  // namespace

const std::vector<NamedGuard>& NeuralGuards() {
  static const std::vector<NamedGuard> guards = {
      {"_adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward adaptive_max_pool3d_backward",
       [](const Given& given) { PoolBackward(given, 3); }},
      {"_adaptive_avg_pool2d_backward adaptive_max_pool2d_backward",
       [](const Given& given) {
         if (!given.tensor("self").is_mkldnn()) PoolBackward(given, 2);
       }},
      {"native_batch_norm native_batch_norm_backward batch_norm_backward _native_batch_norm_legit "
       "_native_batch_norm_legit_functional _native_batch_norm_legit_no_training _batch_norm_with_update "
       "_batch_norm_with_update_functional _batch_norm_no_update _batch_norm_impl_index_backward",
       BatchNorm},
      {"native_group_norm native_group_norm_backward", GroupNorm},
      {"_log_softmax_backward_data _softmax_backward_data", SoftmaxBackward},
      {"_softmax _log_softmax softmax log_softmax",
       [](const Given& given) { NeedDenseOut(given.tensor("out")); }},
      {"_nnpack_spatial_convolution",
       [](const Given& given) {
         const at::Tensor input = given.tensor("input");
         const at::Tensor weight = given.tensor("weight");
         NeedDense(input, "input");
         NeedDense(weight, "weight");
         Need(input.dim() == 4 && weight.dim() == 4 && input.size(1) == weight.size(1) && input.numel() > 0 &&
                  weight.numel() > 0,
              "input and weight must be four-dimensional with the same channels");
         Need(input.scalar_type() == c10::kFloat && SameType(input, weight),
              "input and weight must be float32");
         PerChannel(given, "bias", weight.size(0));
         for (const int64_t stride : given.integers("stride")) Need(stride > 0, "stride must be positive");
         const auto padding = given.integers("padding");
         for (size_t i = 0; i < padding.size(); ++i) {
           const int64_t side = input.size(static_cast<int64_t>(i) + 2);
           Need(padding[i] >= 0 && padding[i] < 1 << 20, "padding must not be negative");
           Need(side + 2 * padding[i] >= weight.size(static_cast<int64_t>(i) + 2),
                "the kernel is larger than the input");
         }
       }},
      {"_thnn_differentiable_gru_cell_backward", [](const Given& given) { Gates(given, 3); }},
      {"_thnn_differentiable_lstm_cell_backward", [](const Given& given) { Gates(given, 4); }},
      {"_transform_bias_rescale_qkv",
       [](const Given& given) {
         const at::Tensor qkv = given.tensor("qkv");
         const at::Tensor bias = given.tensor("qkv_bias");
         const int64_t heads = given.integer("num_heads");
         NeedDense(bias, "qkv_bias");
         NeedDense(qkv, "qkv");
         Need(qkv.dim() == 3 && bias.dim() == 1 && bias.size(0) == qkv.size(2),
              "qkv_bias must fit qkv's last dimension");
         Need(heads >= 1 && bias.size(0) > 0 && bias.size(0) % 3 == 0 && bias.size(0) / 3 % heads == 0,
              "num_heads must divide a third of qkv_bias");
         Need(SameType(qkv, bias) && qkv.is_floating_point(),
              "qkv and qkv_bias must have the same floating point dtype");
       }},
      {"_weight_norm _weight_norm_interface _weight_norm_interface_backward", WeightNorm},
      {"embedding_dense_backward embedding_backward embedding_sparse_backward", EmbeddingBackward},
      {"_embedding_bag_sparse_backward",
       [](const Given& given) {
         const at::Tensor indices = given.tensor("indices");
         NeedDense(indices, "indices");
         Need(IsIndex(indices) && Within(indices, 0, given.integer("num_weights") - 1),
              "indices must be int32 or int64, between 0 and num_weights");
       }},
      {"lstm gru rnn_tanh rnn_relu", Recurrent},
      {"quantized_lstm_cell lstm_cell",
       [](const Given& given) {
         Need(given.length("hx") == 2, "hx must hold the hidden and the cell state");
       }},
      {"_scaled_dot_product_attention_math scaled_dot_product_attention",
       [](const Given& given) {
         if (!given.flag("enable_gqa")) return;
         for (const char* name : {"query", "key", "value"}) {
           const at::Tensor tensor = given.tensor(name);
           Need(tensor.dim() >= 3 && tensor.size(-3) > 0,
                "query, key and value must have heads for enable_gqa");
         }
       }},
      {"_fused_adam _fused_adam_ _fused_adamw _fused_adamw_ _fused_sgd _fused_sgd_ _fused_adagrad "
       "_fused_adagrad_",
       FusedStep},
      {"_scaled_dot_product_flash_attention_for_cpu_backward", FlashAttention},
      {"fbgemm_linear_quantize_weight fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix "
       "fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_fp16_weight "
       "fbgemm_linear_fp16_weight_fp32_activation",
       [](const Given& given) {
         const at::Tensor input = given.tensor("input");
         NeedDense(input, "input");
         Need(input.numel() > 0 && input.dim() >= 2, "input must be a matrix that is not empty");
       }},
      {"mkldnn_linear mkldnn_linear_backward mkldnn_linear_backward_input mkldnn_linear_backward_weights",
       [](const Given& given) {
         const at::Tensor weight = given.tensor("weight");
         Need(weight.defined() ? weight.is_mkldnn() && weight.dim() == 2 : true,
              "weight must be an mkldnn matrix");
         for (const char* name : {"self", "input", "grad_output"}) {
           const at::Tensor tensor = given.tensor(name);
           Need(!tensor.defined() || (tensor.is_mkldnn() && tensor.dim() >= 2),
                "tensors must be mkldnn tensors");
           Need(!tensor.defined() || !weight.defined() || SameType(tensor, weight),
                "dtypes must be the same");
         }
       }},
      {"smooth_l1_loss_backward huber_loss_backward",
       [](const Given& given) {
         Need(given.tensor("self").is_floating_point() && given.tensor("target").is_floating_point() &&
                  given.tensor("grad_output").is_floating_point(),
              "self, target and grad_output must have a floating point dtype");
         const at::Tensor out = given.tensor("grad_input");
         Need(!out.defined() || out.is_floating_point(), "grad_input must have a floating point dtype");
       }},
  };
  return guards;
}

}  // namespace rn
