const RNN =
  "oneDNN's recurrent layers read weights without looking at their sizes; lstm and gru use them safely";
const VMAP = "has a meaning only inside Python's vmap";
const DYNAMIC = 'reads weights packed by itself without looking at their size';

/**
 * Operators that are refused by name, with the reason: libtorch itself ends the process, or writes where it must
 * not, for arguments that no cheap check tells from good ones. (What a cheap check can tell is refused call by
 * call: native/guards.h.) Found by test/torch/fuzz.test.ts.
 */
export const unsafeOperators: Readonly<Record<string, string>> = Object.assign(Object.create(null), {
  _add_batch_dim: VMAP,
  _dyn_quant_matmul_4bit: DYNAMIC,
  _dyn_quant_pack_4bit_weight: DYNAMIC,
  _remove_batch_dim: VMAP,
  _efficientzerotensor: 'a tensor without memory has a meaning only inside autograd',
  mkldnn_rnn_layer: RNN,
  mkldnn_rnn_layer_backward: RNN,
});
