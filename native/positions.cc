// Where entries of a row would come if the row were sorted, without sorting it.
//
//   sortedPositions(values, columns) -> id: ids of CPU tensors n x m, float32 or float64, and n x k, int32;
//   the result is int32, n x k. −1 is no column, and its position is −1.
//
//   countBefore(values, bounds, columns) -> id: the same of numbers that need not be entries, bounds n x k
//   like values, which would stand left of the columns, any int32; 0 where the bound is not a number.

#include <ATen/Functions.h>
#include <ATen/TensorIterator.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "env.h"
#include "positions.h"

// The baseline of x86-64 compares four numbers at a time, newer processors sixteen.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define RN_FAST __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define RN_FAST
#endif

namespace rn {
namespace {

RN_FAST int32_t CountBelow(const float* x, int64_t n, float bound) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += x[i] < bound;
  return count;
}

RN_FAST int32_t CountUpTo(const float* x, int64_t n, float bound) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += x[i] <= bound;
  return count;
}

int32_t CountBelow(const double* x, int64_t n, double bound) {
  return static_cast<int32_t>(std::count_if(x, x + n, [bound](double value) { return value < bound; }));
}

int32_t CountUpTo(const double* x, int64_t n, double bound) {
  return static_cast<int32_t>(std::count_if(x, x + n, [bound](double value) { return value <= bound; }));
}

template <typename T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();

// What is not a number comes last, like what is infinite.
template <typename T>
T Key(T value) {
  return std::isnan(value) ? kInfinity<T> : value;
}

// Counts the entries that come before each of k numbers: those that are less, or equal and left of its
// column; 0 for what is not a number. Entries are taken by so many as the nearest cache holds.
template <typename T>
void Compare(const T* x, int64_t m, const T* bounds, const int32_t* columns, int64_t k, int32_t* counts) {
  constexpr int64_t kChunk = 16384 / sizeof(T);
  std::fill_n(counts, k, 0);
  for (int64_t from = 0; from < m; from += kChunk) {
    const int64_t to = std::min(m, from + kChunk);
    for (int64_t j = 0; j < k; ++j) {
      const T bound = bounds[j];
      if (std::isnan(bound)) continue;
      const int64_t own = std::clamp<int64_t>(columns[j], from, to);
      // No comparison finds the not-a-numbers further left.
      const bool all = bound == kInfinity<T>;
      counts[j] += all ? static_cast<int32_t>(own - from) : CountUpTo(x + from, own - from, bound);
      counts[j] += CountBelow(x + own, to - own, bound);
    }
  }
}

// As Compare, for many numbers: looks up, for each entry, which of them it comes before.
template <typename T>
void LookUp(const T* x, int64_t m, const T* bounds, const int32_t* columns, int64_t k, int32_t* counts) {
  struct Entry {
    T bound;
    int32_t column;
    int64_t to;
    bool operator<(const Entry& other) const {
      return bound < other.bound || (bound == other.bound && column < other.column);
    }
  };
  std::fill_n(counts, k, 0);
  std::vector<Entry> entries;
  for (int64_t j = 0; j < k; ++j) {
    if (!std::isnan(bounds[j])) entries.push_back({bounds[j], columns[j], j});
  }
  std::sort(entries.begin(), entries.end());
  std::vector<int32_t> before(entries.size() + 1,
                              0);  // entries that come before this number but no earlier one
  for (int64_t g = 0; g < m; ++g) {
    const Entry entry{Key(x[g]), static_cast<int32_t>(g), 0};
    ++before[std::upper_bound(entries.begin(), entries.end(), entry) - entries.begin()];
  }
  int32_t total = 0;
  for (size_t j = 0; j < entries.size(); ++j) counts[entries[j].to] = total += before[j];
}

// From so many numbers on, looking up takes less time than comparing with all.
constexpr int64_t kMany = 1024;

template <typename T>
void Count(const T* x, int64_t m, const T* bounds, const int32_t* columns, int64_t k, int32_t* counts) {
  if (std::count_if(bounds, bounds + k, [](T bound) { return !std::isnan(bound); }) < kMany) {
    Compare(x, m, bounds, columns, k, counts);
  } else {
    LookUp(x, m, bounds, columns, k, counts);
  }
}

// A row of the result, whose bounds are the entries at its columns where none are given.
template <typename T>
void Row(const at::Tensor& values, const at::Tensor& bounds, const at::Tensor& columns, at::Tensor& out,
         int64_t row) {
  const int64_t m = values.size(1), k = columns.size(1);
  const T* x = values.const_data_ptr<T>() + row * m;
  const auto* from = columns.const_data_ptr<int32_t>() + row * k;
  auto* to = out.mutable_data_ptr<int32_t>() + row * k;
  if (bounds.defined()) {
    Count(x, m, bounds.const_data_ptr<T>() + row * k, from, k, to);
    return;
  }
  std::vector<T> own(k, std::numeric_limits<T>::quiet_NaN());
  for (int64_t j = 0; j < k; ++j) {
    if (from[j] >= 0) own[j] = Key(x[from[j]]);
  }
  Count(x, m, own.data(), from, k, to);
  for (int64_t j = 0; j < k; ++j) {
    if (from[j] < 0) to[j] = -1;
  }
}

at::Tensor Rows(const at::Tensor& values, const at::Tensor& bounds, const at::Tensor& columns) {
  const bool wide = values.scalar_type() == at::kDouble;
  if (!wide && values.scalar_type() != at::kFloat) throw TypeError("values must be float32 or float64");
  if (columns.scalar_type() != at::kInt) throw TypeError("columns must be int32");
  if (!values.is_cpu() || !columns.is_cpu()) throw TypeError("values and columns must be on the CPU");
  if (values.dim() != 2 || columns.dim() != 2 || values.size(0) != columns.size(0)) {
    throw TypeError("values [n, m] and columns [n, k] must be matrices with equally many rows");
  }
  if (values.size(1) > std::numeric_limits<int32_t>::max()) throw TypeError("rows are too long");
  at::Tensor out = at::empty_like(columns);
  // libtorch's own threads, which this file cannot reach otherwise, as they are OpenMP's.
  at::Tensor rows = at::arange(values.size(0));
  at::TensorIteratorConfig config;
  auto iterator = config.check_all_same_dtype(false).resize_outputs(false).add_output(rows).build();
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t row = *reinterpret_cast<int64_t*>(data[0] + i * strides[0]);
          if (wide) {
            Row<double>(values, bounds, columns, out, row);
          } else {
            Row<float>(values, bounds, columns, out, row);
          }
        }
      },
      /*grain_size=*/1);
  return out;
}

at::Tensor Argument(const Napi::CallbackInfo& info, size_t i) {
  return GetTensor(info.Env(), info[i]).detach().contiguous();
}

Napi::Value SortedPositions(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor values = Argument(info, 0), columns = Argument(info, 1);
    if (columns.scalar_type() == at::kInt && columns.is_cpu() && values.dim() == 2 && columns.numel() > 0) {
      const auto most = columns.max().item<int32_t>();
      if (most >= values.size(1)) throw TypeError("there is no column " + std::to_string(most));
    }
    return Napi::Number::New(info.Env(), Current()->slots.put(Rows(values, {}, columns)));
  });
}

Napi::Value CountBefore(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor values = Argument(info, 0), bounds = Argument(info, 1), columns = Argument(info, 2);
    if (bounds.sizes() != columns.sizes() || bounds.scalar_type() != values.scalar_type() ||
        !bounds.is_cpu()) {
      throw TypeError("bounds must have the shape of columns, and the dtype and device of values");
    }
    return Napi::Number::New(info.Env(), Current()->slots.put(Rows(values, bounds, columns)));
  });
}

}  // namespace

void InitPositions(Napi::Env env, Napi::Object exports) {
  exports.Set("sortedPositions", Napi::Function::New(env, SortedPositions, "sortedPositions"));
  exports.Set("countBefore", Napi::Function::New(env, CountBefore, "countBefore"));
}

}  // namespace rn
