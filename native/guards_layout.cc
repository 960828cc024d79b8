// Guards of views, copies, sparse, nested and oneDNN tensors.
#include "guards.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace rn {

namespace {

void CooToCsr(const Given& given) {
  const at::Tensor self = given.tensor("self");
  NeedDense(self, "self");
  Need(self.dim() == 1 && IsIndex(self), "self must be one-dimensional, int32 or int64");
  const int64_t size = given.integer("size");
  Need(size >= 0 && size < (int64_t{1} << 40) && Within(self, 0, size - 1),
       "indices must lie between 0 and size");
}

void CsrToCoo(const Given& given) {
  const at::Tensor crow = given.tensor("crow_indices");
  const at::Tensor col = given.tensor("col_indices");
  NeedDense(crow, "crow_indices");
  NeedDense(col, "col_indices");
  Need(IsIndex(crow) && SameType(crow, col), "indices must both be int32 or both int64");
  Need(crow.dim() >= 1 && crow.dim() == col.dim() && crow.size(-1) >= 1,
       "indices must have the same dimensions");
  Need(crow.sizes().slice(0, crow.dim() - 1) == col.sizes().slice(0, col.dim() - 1),
       "batches must be the same");
  if (crow.is_meta() || crow.numel() == 0) return;
  at::NoGradGuard noGrad;
  Need(Within(crow.select(-1, 0), 0, 0) && Within(crow.select(-1, -1), col.size(-1), col.size(-1)) &&
           Within(crow.diff(), 0, col.size(-1)),
       "crow_indices must rise from 0 to the number of elements");
}

void UnfoldBackward(const Given& given) {
  const at::Tensor grad = given.tensor("grad_in");
  NeedDense(grad, "grad_in");
  std::vector<int64_t> folded = given.integers("input_sizes");
  const int64_t size = given.integer("size");
  const int64_t step = given.integer("step");
  Need(std::all_of(folded.begin(), folded.end(), [](int64_t length) { return length >= 0; }),
       "input_sizes must not be negative");
  Need(size >= 0 && step > 0, "size must be 0 or more and step 1 or more");
  const auto rank = static_cast<int64_t>(folded.size());
  const int64_t dim = Wrap(given.integer("dim"), std::max<int64_t>(rank, 1));
  Need(dim >= 0, "dim must be a dimension of input_sizes");
  const int64_t length = rank == 0 ? 1 : folded[dim];
  Need(size <= length, "size must not be larger than the dimension");
  if (rank > 0) folded[dim] = (length - size) / step + 1;
  folded.push_back(size);
  Need(grad.sizes() == c10::IntArrayRef(folded), "grad_in must have the size of what unfold gives");
}

void StridesInsideStorage(const Given& given) {
  const at::Tensor self = given.tensor("self");
  NeedDense(self, "self");
  const auto sizes = given.integers("size");
  const auto strides = given.integers("stride");
  Need(sizes.size() == strides.size(), "size and stride must have the same length");
  int64_t last = self.storage_offset();
  bool empty = false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t step = 0;
    Need(sizes[i] >= 0 && strides[i] >= 0, "size and stride must not be negative");
    empty |= sizes[i] == 0;
    Need(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &step) &&
             !__builtin_add_overflow(last, step, &last),
         "the view lies outside the tensor's memory");
  }
  const auto capacity = static_cast<int64_t>(self.storage().nbytes() / self.element_size());
  Need(empty || last < capacity, "the view lies outside the tensor's memory");
}

}  // namespace

const std::vector<NamedGuard>& LayoutGuards() {
  static const std::vector<NamedGuard> guards = {
      {"_convert_indices_from_coo_to_csr", CooToCsr},
      {"_convert_indices_from_csr_to_coo", CsrToCoo},
      {"_neg_view _neg_view_copy _lazy_clone",
       [](const Given& given) { NeedDense(given.tensor("self"), "self"); }},
      {"_nested_compute_contiguous_strides_offsets",
       [](const Given& given) {
         const at::Tensor sizes = given.tensor("nested_size");
         NeedDense(sizes, "nested_size");
         Need(sizes.dim() == 2 && sizes.numel() > 0 && sizes.scalar_type() == c10::kLong &&
                  sizes.is_contiguous(),
              "nested_size must be a matrix of int64");
       }},
      {"_reshape_alias _reshape_alias_copy", StridesInsideStorage},
      {"copy",
       [](const Given& given) {
         Need(given.tensor("self").layout() == given.tensor("src").layout(),
              "self and src must have the same layout");
       }},
      {"_sparse_coo_tensor_unsafe _sparse_coo_tensor_with_dims_and_tensors",
       [](const Given& given) {
         const at::Tensor indices = given.tensor("indices");
         const at::Tensor values = given.tensor("values");
         NeedDense(indices, "indices");
         NeedDense(values, "values");
         Need(indices.scalar_type() == c10::kLong && indices.dim() == 2, "indices must be an int64 matrix");
         Need(given.integer("sparse_dim", indices.size(0)) == indices.size(0),
              "indices must have sparse_dim rows");
         if (!indices.is_meta())
           at::_validate_sparse_coo_tensor_args(indices, values, given.integers("size"));
       }},
      {"_new_zeros_with_same_feature_meta",
       [](const Given& given) {
         const int64_t dims = given.integer("self_num_batch_dims");
         Need(dims >= 0 && dims <= given.tensor("self").dim(),
              "self_num_batch_dims must count dimensions of self");
         NeedDense(given.tensor("other"), "other");
       }},
      {"_gather_sparse_backward gather_backward",
       [](const Given& given) {
         if (!given.flag("sparse_grad", true)) return;
         const at::Tensor self = given.tensor("self");
         const at::Tensor index = given.tensor("index");
         const at::Tensor grad = given.tensor("grad");
         for (const auto& each : {self, index, grad}) NeedDense(each, "self, index and grad");
         const int64_t dim = Wrap(given.integer("dim"), self.dim());
         Need(dim >= 0 && index.dim() == self.dim() && SameSizes(index, grad),
              "index and grad must have the same size");
         Need(index.scalar_type() == c10::kLong && Within(index, 0, self.size(dim) - 1),
              "index is out of range");
       }},
      {"_chunk_cat",
       [](const Given& given) {
         const int64_t dim = given.integer("dim");
         const int64_t chunks = given.integer("num_chunks");
         Need(given.length("tensors") > 0, "tensors must not be empty");
         Need(chunks >= 1 && chunks <= 1 << 20, "num_chunks is out of range");
         for (const at::Tensor& tensor : given.tensors("tensors")) {
           NeedDense(tensor, "each of tensors");
           Need(dim >= 0 && dim < tensor.dim() && tensor.numel() > 0,
                "each of tensors must have a dimension dim, and elements");
         }
       }},
      {"_nested_from_padded",
       [](const Given& given) {
         const at::Tensor padded = given.tensor("padded");
         const at::Tensor sizes = given.tensor("cpu_nested_shape_example");
         NeedDense(padded, "padded");
         NeedDense(sizes, "cpu_nested_shape_example");
         const bool fused = given.flag("fuse_transform_0213");
         Need(!fused || padded.dim() == 4, "fuse_transform_0213 needs a four-dimensional tensor");
         Need(sizes.dim() == 2 && sizes.scalar_type() == c10::kLong && sizes.device().is_cpu() &&
                  padded.numel() > 0 && sizes.numel() > 0 && sizes.size(0) == padded.size(0) &&
                  sizes.size(1) == padded.dim() - (fused ? 2 : 1),
              "cpu_nested_shape_example must hold a row of sizes for each part of padded");
         if (fused) {
           Need(Within(sizes.select(1, 0), 1, padded.size(2)) &&
                    Within(sizes.select(1, 1), padded.size(1) * padded.size(3),
                           padded.size(1) * padded.size(3)),
                "sizes must lie inside padded");
           return;
         }
         for (int64_t dim = 0; dim < sizes.size(1); ++dim) {
           Need(Within(sizes.select(1, dim), 1, padded.size(dim + 1)), "sizes must lie inside padded");
         }
       }},
      {"_nested_select_backward",
       [](const Given& given) {
         Need(given.tensor("self").is_nested() && given.integer("dim") == 0,
              "only rows of a nested tensor have a gradient");
         NeedDense(given.tensor("grad_output"), "grad_output");
       }},
      {"to_mkldnn",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         NeedDense(self, "self");
         Need(self.numel() > 0 && (self.scalar_type() == c10::kFloat || self.scalar_type() == c10::kBFloat16),
              "self must be float32 or bfloat16 and not empty");
       }},
      {"unfold_backward", UnfoldBackward},
      {"view_copy",
       [](const Given& given) { Need(!given.tensor("self").is_quantized(), "self must not be quantized"); }},
      {"_stack cat concat concatenate _cat",
       [](const Given& given) { Need(given.length("tensors") > 0, "tensors must not be empty"); }},
      {"tensor_split",
       [](const Given& given) { Need(given.integer("sections") <= 1 << 15, "sections is too large"); }},
  };
  return guards;
}

}  // namespace rn
