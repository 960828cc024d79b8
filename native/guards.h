// Refuses calls that libtorch would not survive. Its public operators check their arguments; the internal
// ones among the ATen schemas (and a few public ones in corners) trust them, and read or write where they
// must not.
#pragma once

#include "operators.h"

namespace rn {

class Given;

// Throws TypeError, saying what is required.
using Guard = void (*)(const Given&);

// The guard of an operator, or null.
Guard FindGuard(const c10::FunctionSchema& schema);

// Tensors of layouts that most kernels do not know and do not check for: nested ones and oneDNN's.
inline bool IsUnusual(const at::Tensor& tensor) {
  return tensor.key_set().has_any(
      c10::DispatchKeySet({c10::DispatchKey::NestedTensor, c10::DispatchKey::MkldnnCPU}));
}
bool HasUnusual(const std::vector<c10::IValue>& stack);

// Throws TypeError when an operator that does not know such a tensor is given one.
void RefuseUnusual(const Overload& overload, const std::vector<c10::IValue>& stack);

// Checks a call that is about to be made: lists of fixed length first, then the overload's own guard.
void RunGuard(const Overload& overload, std::vector<c10::IValue>* stack);

// The arguments of a call, by the names the schema gives them.
class Given {
 public:
  Given(const c10::FunctionSchema& schema, const std::vector<c10::IValue>& stack)
      : schema_(schema), stack_(stack) {}

  bool has(const char* name) const;
  // Undefined where the schema has no such argument or None was given.
  at::Tensor tensor(const char* name) const;
  std::vector<at::Tensor> tensors(const char* name) const;
  int64_t integer(const char* name, int64_t fallback = 0) const;
  double number(const char* name, double fallback = 0) const;
  bool flag(const char* name, bool fallback = false) const;
  std::vector<int64_t> integers(const char* name) const;
  size_t length(const char* name) const;  // of a list of any kind
  const c10::FunctionSchema& schema() const { return schema_; }

 private:
  const c10::IValue* find(const char* name) const;

  const c10::FunctionSchema& schema_;
  const std::vector<c10::IValue>& stack_;
};

struct NamedGuard {
  const char* operators;  // names, separated by spaces
  Guard guard;
};

// One table a subject: guards_nn.cc, guards_math.cc, guards_layout.cc.
const std::vector<NamedGuard>& NeuralGuards();
const std::vector<NamedGuard>& MathGuards();
const std::vector<NamedGuard>& LayoutGuards();

// Words in which the guards are written.
void Need(bool condition, const char* requirement);
// A strided tensor that is neither quantized nor nested.
void NeedDense(const at::Tensor& tensor, const char* name);
bool SameSizes(const at::Tensor& a, const at::Tensor& b);
bool SameType(const at::Tensor& a, const at::Tensor& b);
// Every element of an integer tensor lies between the two bounds; true where the values cannot be known
// (meta).
bool Within(const at::Tensor& tensor, int64_t least, int64_t most);
bool IsIndex(const at::Tensor& tensor);   // int32 or int64
int64_t Wrap(int64_t dim, int64_t rank);  // -1 where `dim` is out of range

}  // namespace rn
