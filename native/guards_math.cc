// Guards of linear algebra, distances, transforms, special functions and random numbers.
#include "guards.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace rn {

namespace {

bool AllFinite(const at::Tensor& tensor) {
  if (tensor.is_meta() || tensor.numel() == 0 || !(tensor.is_floating_point() || tensor.is_complex()))
    return true;
  at::NoGradGuard noGrad;
  return at::isfinite(tensor.detach()).all().item<bool>();
}

void CheckPivots(const at::Tensor& matrix, const at::Tensor& pivots, bool symmetric) {
  NeedDense(matrix, "the factorisation");
  NeedDense(pivots, "the pivots");
  Need(matrix.dim() >= 2 && pivots.dim() == matrix.dim() - 1,
       "pivots must have one dimension less than the matrix");
  const int64_t rows = matrix.size(-2);
  Need(pivots.size(-1) == std::min(rows, matrix.size(-1)), "one pivot a row or column is required");
  Need(pivots.scalar_type() == c10::kInt, "pivots must be int32");
  Need(symmetric ? Within(pivots.abs(), 1, rows) : Within(pivots, 1, rows),
       "pivots must name rows, counted from 1");
}

void CheckFourier(const Given& given) {
  const at::Tensor self = given.tensor("self");
  NeedDense(self, "self");
  std::vector<bool> seen(static_cast<size_t>(self.dim()));
  for (const int64_t dim : given.integers("dim")) {
    Need(dim >= 0 && dim < self.dim(), "dim must be between 0 and the number of dimensions");
    Need(!seen[static_cast<size_t>(dim)], "dim must not name a dimension twice");
    Need(self.size(dim) > 0, "a transformed dimension must not be empty");
    seen[static_cast<size_t>(dim)] = true;
  }
  Need(given.length("dim") > 0, "dim must not be empty");
  const int64_t normalization = given.integer("normalization");
  Need(normalization >= 0 && normalization <= 2, "normalization must be 0, 1 or 2");
  const at::Tensor out = given.tensor("out");
  const bool real = given.schema().name() == "aten::_fft_c2r";
  const auto wanted = real
                          ? c10::toRealValueType(self.scalar_type())
                          : (self.is_complex() ? self.scalar_type() : c10::toComplexType(self.scalar_type()));
  Need(!out.defined() || (out.scalar_type() == wanted && out.layout() == c10::kStrided),
       "out must have the dtype of the result");
}

void FourierFromReal(const Given& given) {
  const at::Tensor self = given.tensor("self");
  Need(self.is_floating_point(), "self must have a floating point dtype");
  CheckFourier(given);
}

void FourierFromComplex(const Given& given) {
  const at::Tensor self = given.tensor("self");
  Need(self.is_complex(), "self must be complex");
  CheckFourier(given);
}

void FourierToReal(const Given& given) {
  FourierFromComplex(given);
  const int64_t last = given.integer("last_dim_size");
  Need(last >= 1 && given.tensor("self").size(given.integers("dim").back()) == last / 2 + 1,
       "the last transformed dimension must have last_dim_size / 2 + 1 elements");
}

void CheckSobol(const Given& given, const char* stateName, int64_t bits) {
  const at::Tensor state = given.tensor(stateName);
  const int64_t dimension = given.integer("dimension");
  NeedDense(state, stateName);
  Need(state.scalar_type() == c10::kLong && !state.is_meta(), "the Sobol state must be int64");
  Need(dimension >= 1 && dimension <= 21201, "dimension must be between 1 and 21201");
  Need(state.dim() == 2 && state.size(0) == dimension && state.size(1) == bits,
       "the Sobol state must be [dimension, 30]");
}

void SobolDraw(const Given& given) {
  CheckSobol(given, "sobolstate", 30);
  const at::Tensor quasi = given.tensor(given.has("quasi") ? "quasi" : "self");
  NeedDense(quasi, "the last point");
  const int64_t n = given.integer("n");
  const int64_t generated = given.integer("num_generated");
  Need(quasi.dim() == 1 && quasi.scalar_type() == c10::kLong && quasi.size(0) == given.integer("dimension"),
       "the last point must be int64 with one element a dimension");
  Need(n >= 0 && generated >= 0 && n <= (1 << 30) && generated <= (1 << 30) && n + generated < (1 << 30),
       "a Sobol sequence has 2^30 points");
}

void FiniteMatrix(const Given& given) {
  const at::Tensor self = given.tensor(given.has("self") ? "self" : "A");
  Need(AllFinite(self), "the matrix must not hold infinities or NaN");
}

// Recurrences that run n times an element.
void PolynomialDegree(const Given& given) {
  constexpr double most = 1 << 24;
  const at::Tensor n = given.tensor("n");
  if (n.defined()) {
    if (n.is_meta() || n.numel() == 0) return;
    at::NoGradGuard noGrad;
    Need(!(n.detach().to(c10::kDouble).max().item<double>() > most), "the degree n is too large");
  } else {
    Need(!(given.number("n") > most), "the degree n is too large");
  }
}

}  // namespace

const std::vector<NamedGuard>& MathGuards() {
  static const std::vector<NamedGuard> guards = {
      {"_cholesky_solve_helper",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         const at::Tensor A = given.tensor("A");
         NeedDense(self, "self");
         NeedDense(A, "A");
         Need(
             A.dim() >= 2 && A.size(-1) == A.size(-2) && self.dim() == A.dim() && self.size(-2) == A.size(-1),
             "A must be square matrices, and self have as many rows");
         Need(self.sizes().slice(0, self.dim() - 2) == A.sizes().slice(0, A.dim() - 2),
              "batches must be the same");
         Need(SameType(self, A), "self and A must have the same dtype");
       }},
      {"_compute_linear_combination",
       [](const Given& given) {
         const at::Tensor input = given.tensor("input");
         const at::Tensor coefficients = given.tensor("coefficients");
         NeedDense(input, "input");
         NeedDense(coefficients, "coefficients");
         Need(input.dim() >= 1 && coefficients.dim() == 2 && coefficients.size(1) == input.size(0),
              "coefficients must have a column for each element of input");
         Need(SameType(input, coefficients), "input and coefficients must have the same dtype");
         const at::Tensor out = given.tensor("out");
         if (!out.defined()) return;
         auto sizes = input.sizes().vec();
         sizes[0] = coefficients.size(0);
         Need(out.sizes() == c10::IntArrayRef(sizes) && SameType(out, input),
              "out must have the result's size and dtype");
       }},
      {"_cummax_helper _cummin_helper",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         const at::Tensor values = given.tensor("values");
         const at::Tensor indices = given.tensor("indices");
         for (const auto& each : {self, values, indices}) NeedDense(each, "self, values and indices");
         Need(self.numel() > 0, "self must not be empty");
         Need(SameSizes(self, values) && SameSizes(self, indices),
              "values and indices must have the size of self");
         Need(SameType(self, values) && indices.scalar_type() == c10::kLong,
              "values must have self's dtype, indices int64");
         const int64_t dim = given.integer("dim");
         Need(dim >= 0 && dim < std::max<int64_t>(self.dim(), 1), "dim is out of range");
       }},
      {"_logcumsumexp _cumsum _cumprod",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         const at::Tensor out = given.tensor("out");
         NeedDense(self, "self");
         Need(!out.defined() || (SameSizes(self, out) && SameType(self, out)),
              "out must have the size and dtype of self");
         const int64_t dim = given.integer("dim");
         Need(dim >= 0 && dim < std::max<int64_t>(self.dim(), 1), "dim is out of range");
       }},
      {"random random_",
       [](const Given& given) {
         if (!given.tensor("self").is_floating_point()) return;
         // Beyond, libtorch looks for ever for a bound that the dtype can hold.
         constexpr int64_t most = int64_t{1} << 53;
         Need(given.integer("from") >= -most && given.integer("from") <= most &&
                  given.integer("to") >= -most && given.integer("to") <= most,
              "the bounds are too large for a floating point dtype");
       }},
      {"combinations", [](const Given& given) { Need(given.integer("r", 2) <= 64, "r is too large"); }},
      {"_fft_r2c", FourierFromReal},
      {"_fft_c2c", FourierFromComplex},
      {"_fft_c2r", FourierToReal},
      {"linalg_eig linalg_eigvals _linalg_eigvals", FiniteMatrix},
      {"lu_unpack",
       [](const Given& given) {
         if (given.flag("unpack_pivots", true))
           CheckPivots(given.tensor("LU_data"), given.tensor("LU_pivots"), false);
       }},
      {"lu_solve",
       [](const Given& given) { CheckPivots(given.tensor("LU_data"), given.tensor("LU_pivots"), false); }},
      {"linalg_lu_solve",
       [](const Given& given) { CheckPivots(given.tensor("LU"), given.tensor("pivots"), false); }},
      {"linalg_ldl_solve",
       [](const Given& given) { CheckPivots(given.tensor("LD"), given.tensor("pivots"), true); }},
      {"_pdist_forward",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         NeedDense(self, "self");
         Need(self.dim() == 2 && self.is_contiguous(), "self must be a contiguous matrix");
       }},
      {"_pdist_backward",
       [](const Given& given) {
         const at::Tensor self = given.tensor("self");
         const at::Tensor grad = given.tensor("grad");
         const at::Tensor pdist = given.tensor("pdist");
         for (const auto& each : {self, grad, pdist}) NeedDense(each, "self, grad and pdist");
         Need(self.dim() == 2 && self.is_contiguous(), "self must be a contiguous matrix");
         const int64_t pairs = self.size(0) * (self.size(0) - 1) / 2;
         Need(grad.dim() == 1 && grad.size(0) == pairs && SameSizes(grad, pdist) && pdist.is_contiguous(),
              "grad and pdist must have one element a pair of rows");
         Need(SameType(self, grad) && SameType(self, pdist), "self, grad and pdist must have the same dtype");
       }},
      {"_saturate_weight_to_fp16",
       [](const Given& given) {
         const at::Tensor weight = given.tensor("weight");
         NeedDense(weight, "weight");
         Need(weight.numel() > 0 && weight.scalar_type() == c10::kFloat,
              "weight must be float32 and not empty");
       }},
      {"_sobol_engine_draw _sobol_engine_ff _sobol_engine_ff_", SobolDraw},
      {"_sobol_engine_initialize_state _sobol_engine_initialize_state_",
       [](const Given& given) { CheckSobol(given, "self", 30); }},
      {"_sobol_engine_scramble _sobol_engine_scramble_",
       [](const Given& given) {
         CheckSobol(given, "self", 30);
         const at::Tensor ltm = given.tensor("ltm");
         NeedDense(ltm, "ltm");
         Need(ltm.dim() == 3 && ltm.size(0) == given.integer("dimension") && ltm.size(1) == 30 &&
                  ltm.size(2) == 30 && ltm.scalar_type() == c10::kLong,
              "ltm must be int64 [dimension, 30, 30]");
       }},
      {"tril triu",
       [](const Given& given) {
         const at::Tensor out = given.tensor("out");
         Need(!out.defined() || out.is_contiguous(), "out must be contiguous");
       }},
      {"_cdist_backward",
       [](const Given& given) {
         const at::Tensor grad = given.tensor("grad");
         const at::Tensor x1 = given.tensor("x1");
         const at::Tensor x2 = given.tensor("x2");
         const at::Tensor cdist = given.tensor("cdist");
         for (const auto& each : {grad, x1, x2, cdist}) {
           NeedDense(each, "grad, x1, x2 and cdist");
           Need(each.dim() >= 2 && each.dim() == x1.dim() && SameType(each, x1) && each.is_floating_point(),
                "grad, x1, x2 and cdist must have the same number of dimensions and the same floating point "
                "dtype");
           Need(each.sizes().slice(0, each.dim() - 2) == x1.sizes().slice(0, x1.dim() - 2),
                "batches must be the same");
         }
         Need(x1.size(-1) == x2.size(-1) && SameSizes(grad, cdist) && grad.size(-2) == x1.size(-2) &&
                  grad.size(-1) == x2.size(-2),
              "grad and cdist must have an element a pair of rows of x1 and x2");
       }},
      {"binomial",
       [](const Given& given) {
         Need(AllFinite(given.tensor("count")) && AllFinite(given.tensor("prob")),
              "count and prob must be finite");
       }},
      {"choose_qparams_optimized",
       [](const Given& given) {
         const at::Tensor input = given.tensor("input");
         NeedDense(input, "input");
         const double ratio = given.number("ratio");
         Need(given.integer("numel") >= 1 && given.integer("numel") <= input.numel(),
              "numel must count elements of input");
         Need(given.integer("n_bins") >= 1 && given.integer("n_bins") <= 1 << 20, "n_bins is out of range");
         Need(ratio >= 0 && ratio <= 1, "ratio must be between 0 and 1");
         Need(given.integer("bit_width") >= 1 && given.integer("bit_width") <= 16,
              "bit_width is out of range");
       }},
      {"lcm lcm_",
       [](const Given& given) {
         for (const char* name : {"self", "other"}) {
           const at::Tensor tensor = given.tensor(name);
           const c10::ScalarType type = tensor.scalar_type();
           if (type != c10::kInt && type != c10::kLong) continue;
           // Their negative is not representable: the quotient by a divisor of -1 ends the process.
           const int64_t least =
               type == c10::kInt ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int64_t>::min();
           Need(Within(tensor, least + 1, std::numeric_limits<int64_t>::max()),
                "self and other must not hold the least number of their dtype");
         }
       }},
      {"linalg_matrix_power matrix_power",
       [](const Given& given) {
         Need(given.integer("n") != std::numeric_limits<int64_t>::min(), "n must be greater than -2^63");
       }},
      {"range",
       [](const Given& given) {
         const at::Tensor out = given.tensor("out");
         const double step = given.number("step", 1);
         Need(!out.defined() || !c10::isIntegralType(out.scalar_type(), true) || std::trunc(step) != 0,
              "an integer out needs a step of at least 1");
       }},
      {"special_laguerre_polynomial_l special_legendre_polynomial_p special_hermite_polynomial_h "
       "special_hermite_polynomial_he special_chebyshev_polynomial_t special_chebyshev_polynomial_u "
       "special_chebyshev_polynomial_v special_chebyshev_polynomial_w special_shifted_chebyshev_polynomial_t "
       "special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v "
       "special_shifted_chebyshev_polynomial_w",
       PolynomialDegree},
  };
  return guards;
}

}  // namespace rn
