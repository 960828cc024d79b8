// Batch normalisation by the statistics of several processes: five operators that libtorch has for CUDA only,
// here for the CPU, made of usual ones. Inputs are [N, C, …], of the others the dimensions are C.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "device.h"

namespace {

using at::Tensor;
using MaybeTensor = const std::optional<Tensor>&;

Tensor wide(const Tensor& x) { return x.element_size() < 4 ? x.to(at::kFloat) : x; }

std::vector<int64_t> allButChannels(const Tensor& input) {
  std::vector<int64_t> dims{0};
  for (int64_t i = 2; i < input.dim(); ++i) dims.push_back(i);
  return dims;
}

Tensor along(const Tensor& channels, const Tensor& input) {
  std::vector<int64_t> shape(input.dim(), 1);
  shape[1] = -1;
  return channels.view(shape);
}

std::tuple<Tensor, Tensor> stats(const Tensor& input, double eps) {
  const auto [variance, mean] = at::var_mean(wide(input), allButChannels(input), at::Scalar(0), false);
  return {mean, variance.add(eps).rsqrt()};
}

std::tuple<Tensor, Tensor> gatherStats(const Tensor&, const Tensor& means, const Tensor& inverses,
                                       MaybeTensor runningMean, MaybeTensor runningVariance, double momentum,
                                       double eps, const Tensor& counts) {
  const Tensor total = counts.sum();
  const Tensor share = counts.div(total).unsqueeze(1);
  const Tensor mean = means.mul(share).sum(0);
  const Tensor offsets = means.sub(mean);
  const Tensor variance = inverses.pow(-2).sub(eps).add(offsets.square()).mul(share).sum(0);
  const auto update = [&](MaybeTensor running, const Tensor& value) {
    if (running && running->defined()) running->mul_(1 - momentum).add_(value, momentum);
  };
  update(runningMean, mean);
  update(runningVariance, variance.mul(total.div(total.sub(1))));
  return {mean, variance.add(eps).rsqrt()};
}

Tensor elementwise(const Tensor& input, MaybeTensor weight, MaybeTensor bias, const Tensor& mean,
                   const Tensor& inverse, double) {
  Tensor result = wide(input).sub(along(mean, input)).mul(along(inverse, input));
  if (weight) result = result.mul(along(*weight, input));
  if (bias) result = result.add(along(*bias, input));
  return result.to(input.dtype());
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backwardReduce(const Tensor& grad, const Tensor& input,
                                                          const Tensor& mean, const Tensor& inverse,
                                                          MaybeTensor, bool, bool, bool) {
  const auto dims = allButChannels(input);
  const Tensor sum = wide(grad).sum(dims);
  const Tensor product = wide(grad).mul(wide(input).sub(along(mean, input))).sum(dims);
  return {sum, product, product.mul(inverse), sum.clone()};
}

Tensor backwardElementwise(const Tensor& grad, const Tensor& input, const Tensor& mean, const Tensor& inverse,
                           MaybeTensor weight, const Tensor& sum, const Tensor& product,
                           const Tensor& counts) {
  TORCH_CHECK(counts.scalar_type() == at::kInt, "batch_norm_backward_elemt: counts must be int32");
  const Tensor total = counts.sum();
  const Tensor slope = product.div(total).mul(inverse.square());
  const Tensor scale = weight ? inverse.mul(*weight) : inverse;
  return wide(grad)
      .sub(along(sum.div(total), input))
      .sub(wide(input).sub(along(mean, input)).mul(along(slope, input)))
      .mul(along(scale, input))
      .to(grad.dtype());
}

}  // namespace

void sim::addBatchNorm() {
  static auto* const library =
      new torch::Library(torch::Library::IMPL, "aten", c10::DispatchKey::CPU, __FILE__, __LINE__);
  library->impl("batch_norm_stats", stats);
  library->impl("batch_norm_gather_stats_with_counts", gatherStats);
  library->impl("batch_norm_elemt", elementwise);
  library->impl("batch_norm_backward_reduce", backwardReduce);
  library->impl("batch_norm_backward_elemt", backwardElementwise);
}
