// Where entries of a row would come if the row were sorted, without sorting it.
//
//   sortedPositions(values, columns) -> id: ids of CPU tensors n x m, float32 or float64, and n x k, int32;
//   the result is int32, n x k. −1 is no column, and its position is −1.

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

// Compares all entries with those at `columns`: an entry comes before another if it is less, or equal and
// further left. Entries are taken by so many as the nearest cache holds.
template <typename T>
void Compare(const T* x, int64_t m, const int32_t* columns, int64_t k, int32_t* positions) {
  constexpr int64_t kChunk = 16384 / sizeof(T);
  std::fill_n(positions, k, 0);
  for (int64_t from = 0; from < m; from += kChunk) {
    const int64_t to = std::min(m, from + kChunk);
    for (int64_t j = 0; j < k; ++j) {
      if (columns[j] < 0) continue;
      const T bound = Key(x[columns[j]]);
      const int64_t own = std::clamp<int64_t>(columns[j], from, to);
      // No comparison finds the not-a-numbers further left.
      const bool all = bound == kInfinity<T>;
      positions[j] += all ? static_cast<int32_t>(own - from) : CountUpTo(x + from, own - from, bound);
      positions[j] += CountBelow(x + own, to - own, bound);
    }
  }
}

// As Compare, for many columns: looks up, for each entry, which of them it comes before.
template <typename T>
void LookUp(const T* x, int64_t m, const int32_t* columns, int64_t k, int32_t* positions) {
  struct Entry {
    T bound;
    int32_t column;
    int64_t to;
    bool operator<(const Entry& other) const {
      return bound < other.bound || (bound == other.bound && column < other.column);
    }
  };
  std::vector<Entry> entries;
  for (int64_t j = 0; j < k; ++j) {
    if (columns[j] >= 0) entries.push_back({Key(x[columns[j]]), columns[j], j});
  }
  std::sort(entries.begin(), entries.end());
  std::vector<int32_t> before(entries.size() + 1,
                              0);  // entries that come before this column but no earlier one
  for (int64_t g = 0; g < m; ++g) {
    const Entry entry{Key(x[g]), static_cast<int32_t>(g), 0};
    ++before[std::upper_bound(entries.begin(), entries.end(), entry) - entries.begin()];
  }
  int32_t total = 0;
  for (size_t j = 0; j < entries.size(); ++j) positions[entries[j].to] = total += before[j];
}

// From so many columns on, looking up takes less time than comparing with all.
constexpr int64_t kMany = 1024;

template <typename T>
void Row(const at::Tensor& values, const at::Tensor& columns, at::Tensor& out, int64_t row) {
  const int64_t m = values.size(1), k = columns.size(1);
  const T* x = values.const_data_ptr<T>() + row * m;
  const auto* from = columns.const_data_ptr<int32_t>() + row * k;
  auto* to = out.mutable_data_ptr<int32_t>() + row * k;
  if (std::count_if(from, from + k, [](int32_t column) { return column >= 0; }) < kMany) {
    Compare(x, m, from, k, to);
  } else {
    LookUp(x, m, from, k, to);
  }
  for (int64_t j = 0; j < k; ++j) {
    if (from[j] < 0) to[j] = -1;
  }
}

Napi::Value SortedPositions(const Napi::CallbackInfo& info) {
  return Guarded(info.Env(), [&]() -> Napi::Value {
    const at::Tensor values = GetTensor(info.Env(), info[0]).detach().contiguous();
    const at::Tensor columns = GetTensor(info.Env(), info[1]).detach().contiguous();
    const bool wide = values.scalar_type() == at::kDouble;
    if (!wide && values.scalar_type() != at::kFloat) throw TypeError("values must be float32 or float64");
    if (columns.scalar_type() != at::kInt) throw TypeError("columns must be int32");
    if (!values.is_cpu() || !columns.is_cpu()) throw TypeError("values and columns must be on the CPU");
    if (values.dim() != 2 || columns.dim() != 2 || values.size(0) != columns.size(0)) {
      throw TypeError("values [n, m] and columns [n, k] must be matrices with equally many rows");
    }
    if (values.size(1) > std::numeric_limits<int32_t>::max()) throw TypeError("rows are too long");
    if (columns.numel() > 0) {
      const auto most = columns.max().item<int32_t>();
      if (most >= values.size(1)) throw TypeError("there is no column " + std::to_string(most));
    }
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
              Row<double>(values, columns, out, row);
            } else {
              Row<float>(values, columns, out, row);
            }
          }
        },
        /*grain_size=*/1);
    return Napi::Number::New(info.Env(), Current()->slots.put(std::move(out)));
  });
}

}  // namespace

void InitPositions(Napi::Env env, Napi::Object exports) {
  exports.Set("sortedPositions", Napi::Function::New(env, SortedPositions, "sortedPositions"));
}

}  // namespace rn
