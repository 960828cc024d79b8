import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { repoRoot } from '../support/paths.js';

const child = join(repoRoot, 'dist/test/torch/fuzz_child.js');
const runs = Number(process.env.RN_FUZZ_RUNS ?? 3000);
const seed = Number(process.env.RN_FUZZ_SEED ?? 1);
// A tensor of absurd size must fail to be allocated, not fill the machine: KiB of address space for the child.
const addressSpace = 4 * 2 ** 20;

test(`no argument list ends the process (seed ${seed}, ${runs} calls)`, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rn-fuzz-'));
  const note = join(folder, 'call.json');
  const command = [process.execPath, child, '--seed', String(seed), '--runs', String(runs), '--note', note];
  const limited = ['-c', `ulimit -c 0; ulimit -v ${addressSpace}; exec "$@"`, 'fuzz', ...command];
  const result = spawnSync('bash', limited, {
    // Some operators write files, under whatever name they are given.
    cwd: folder,
    encoding: 'utf8',
    timeout: 800_000,
    maxBuffer: 2 ** 28,
  });
  if (result.status !== 0) {
    const call = readFileSync(note, 'utf8');
    const how = result.signal ? `was ended by ${result.signal}` : `exited with ${result.status}`;
    const again = `node ${child} --replay ${note}`;
    const output = `${result.stdout}\n${result.stderr}`.slice(-2000);
    assert.fail(`the child ${how} in this call (again: ${again}):\n${call}\n\n${output}`);
  }
  rmSync(folder, { recursive: true });
  const summary = result.stdout.trim().split('\n').at(-1)!;
  t.diagnostic(`RN_FUZZ_SEED=${seed} RN_FUZZ_RUNS=${runs}: ${summary}`);
  const { worked, refused } = JSON.parse(summary) as { worked: number; refused: number };
  assert.ok(worked + refused >= runs * 0.99, summary);
  // Argument lists that are all refused would prove nothing.
  assert.ok(worked > runs * 0.1, summary);
});

const f = (...shape: number[]) => torch.ones(shape);
const i = (...shape: number[]) => torch.ones(shape, { dtype: torch.int64 });
// Calls that end Python's process too, one a guard.
const fatal: Record<string, () => unknown[]> = {
  _adaptive_avg_pool3d_backward: () => [f(1, 3, 8, 8), f(2, 3, 4, 4)],
  _batch_norm_no_update: () => [f(1, 3, 8, 8), f(4), null, null, null, 0.1, 1e-5],
  _cholesky_solve_helper: () => [f(2, 3, 4, 4), f(64, 64), false],
  _chunk_cat: () => [[f(), f()], -1, 100],
  _compute_linear_combination: () => [f(2, 3, 4), f(2, 3, 4)],
  _convert_indices_from_coo_to_csr: () => [torch.tensor([0n, 90n]), 2],
  _convert_indices_from_csr_to_coo: () => [torch.tensor([0n, 5n, 99n]), i(2)],
  _cummax_helper: () => [f(16), f(0), i(3), 0],
  _fft_c2r: () => [f(3, 3).to(torch.complex64), [12, 3, 1], 2, 3],
  _fft_r2c: () => [f(2, 3), [0, 0, 5], 0, true],
  _foreach_copy: () => [[f(2)], [f(2), f(2)], false],
  _foreach_mul_: () => [[f(2), f(2)], []],
  _fused_sgd_: () => [
    [f(9)],
    [f(2)],
    [],
    {
      weight_decay: 0,
      momentum: 0,
      lr: 1,
      dampening: 0,
      nesterov: false,
      maximize: false,
      is_first_step: false,
    },
  ],
  _gather_sparse_backward: () => [f(1), 0, i(1).mul(90), f(1)],
  _nnpack_spatial_convolution: () => [f(1, 3, 8, 8), f(1, 3, 8, 8), null, [2, 2, -1], []],
  _pdist_backward: () => [f(5), f(0, 3, 4), 1, f(3)],
  _pdist_forward: () => [f(0, 3, 4), 2],
  _cummin_helper: () => [i(5, 2, 4), i(5, 2, 4), i(5, 2, 4), -1],
  copy: () => [f(4, 4).to_sparse_csr(), f(4, 4), false],
  _reshape_alias: () => [f(16), [2], [2147483647]],
  _scaled_dot_product_attention_math: () => [
    f(1, 0, 3, 4),
    f(1, 0, 3, 4),
    f(1, 0, 3, 4),
    null,
    0,
    false,
    null,
    { enable_gqa: true },
  ],
  _embedding_bag_sparse_backward: () => {
    const [indices, offsets, bag] = [[90n], [0n], [0n]].map((values) => torch.tensor(values));
    return [f(1, 3), indices, offsets, bag, bag, 2, false, 0, null];
  },
  _slow_conv2d_backward: () => [f(4, 4), f(2, 3), f(2, 3), [2, 0, 3, 1], [1, 2], [], [true, false, false]],
  _sobol_engine_initialize_state_: () => [i(2, 3), 1],
  _sparse_coo_tensor_unsafe: () => [torch.tensor([[99n]]), f(1), [2]],
  _sparse_csr_tensor_unsafe: () => [torch.tensor([0n, 5n, 9n]), torch.tensor([3n, 99n]), f(2), [2, 2]],
  _stack: () => [[], 0],
  _thnn_differentiable_gru_cell_backward: () => [f(1), f(1), f(1), f(1), null, null],
  _transform_bias_rescale_qkv: () => [f(3, 3, 3), f(3), 0],
  _weight_norm_interface: () => [f(4, 4), f(3), 1],
  embedding_dense_backward: () => [f(3, 2), torch.tensor([0n, 1n, 90n]), 2, -1, false],
  fractional_max_pool2d_backward: () => [f(2, 3, 4), f(2, 3, 4), [2, 2], [], i(2, 3, 4)],
  index_copy: () => [f(3, 3), 1, f(3).to_mkldnn(), f(3, 3)],
  lcm: () => {
    const least = torch.full([2], -(2 ** 31), { dtype: torch.int32 });
    return [least, torch.full([2], 13, { dtype: torch.int32 })];
  },
  linalg_matrix_power: () => [f(3, 3), -(2n ** 63n)],
  linalg_eigvals: () => [torch.full([4, 4], Number.NaN)],
  lu_unpack: () => [f(4, 4), torch.full([4], 90, { dtype: torch.int32 })],
  native_group_norm: () => [f(3, 3, 3), null, null, -1, 1, -1, 0, 0.1],
  quantized_lstm_cell: () => [f(1), [], f(1), f(1), f(1), f(1), f(1), f(1), f(1), f(1), 1, 1, 0, 0],
  random_: () => [f(3), 2n ** 63n - 1n, null],
  combinations: () => [f(3), 1e9],
  range: () => [1, 3, 0.5, { out: torch.ones([3], { dtype: torch.int32 }) }],
  reflection_pad1d_backward: () => [f(3, 3), f(3, 3), []],
  special_laguerre_polynomial_l: () => [f(2), 2n ** 62n],
  tensor_split: () => [f(5), 1e9, 0],
  unfold_backward: () => [f(), [3, 2, 1, 0], 3, 11, 2],
  tril: () => [f(3, 3, 3, 3), 2, { out: f(3, 3, 3, 3).transpose(0, -1) }],
};

test('calls that libtorch does not survive are refused, with the schema', () => {
  const operators = torch as unknown as Record<string, (...args: unknown[]) => unknown>;
  for (const [name, args] of Object.entries(fatal)) {
    torch.scope(() => {
      assert.throws(
        () => operators[name]!(...args()),
        (error: Error) => error.message.includes(`aten::${name}`),
        name,
      );
    });
  }
});

test('an out whose elements share memory, or have gaps where a kernel knows none, is refused', () => {
  const x = f(2, 300, 64);
  const shared = torch.zeros([300, 64]).expand([2, 300, 64]);
  const gaps = torch.zeros([2, 300, 128]).index('...', torch.slice(0, null, 2));
  for (const out of [shared, gaps]) {
    assert.throws(() => torch._softmax(x, 1, false, { out }), /out must .* in\n {2}aten::_softmax/);
    assert.throws(() => torch.log_softmax(x, 1, { out }), /out must/);
    assert.throws(() => torch._log_softmax_backward_data(x, x, 1, torch.float32, { out }), /out must/);
    assert.throws(
      () => torch._softmax_backward_data(x, x, 1, torch.float32, { grad_input: out }),
      /(out|grad_input) must/,
    );
  }
  const turned = torch.zeros([64, 300, 2]).transpose(0, 2);
  torch._softmax(x, 1, false, { out: turned });
  assert.ok(torch.allclose(turned, x.softmax(1)));
  torch.add(x, x, { out: gaps });
  assert.ok(torch.equal(gaps, x.mul(2)));
});

test('guards let right calls through', () => {
  const x = torch.arange(10, { dtype: torch.float32, requiresGrad: true }).view([2, 5]);
  const grad = f(2, 2, 3);
  const [expected] = torch.autograd.grad([x.unfold(1, 3, 2)], [x], { gradOutputs: [grad] }) as [torch.Tensor];
  assert.deepEqual(torch.unfold_backward(grad, [2, 5], 1, 3, 2).tolist(), expected.tolist());
  assert.deepEqual(torch.unfold_backward(f(1), [], 0, 1, 1).tolist(), 1);
  assert.deepEqual(
    torch
      .tensor([4n, -6n])
      .lcm(torch.tensor([6n, 4n]))
      .tolist(),
    [12, 12],
  );
  assert.deepEqual(torch.linalg_matrix_power(f(2, 2), 3).tolist(), [
    [4, 4],
    [4, 4],
  ]);
});

test('operators that are refused by name say why', () => {
  assert.throws(() => torch._add_batch_dim(f(2), 0, 1), {
    name: 'TypeError',
    message: /^aten::_add_batch_dim cannot be called from JavaScript: .*vmap/,
  });
});

test('lists of fixed length: one number stands for all, a wrong count is refused', () => {
  const x = f(1, 1, 4, 4);
  assert.deepEqual(torch.max_pool2d(x, [2]).shape, [1, 1, 2, 2]);
  assert.deepEqual(torch.max_pool2d(x, 2, []).shape, [1, 1, 2, 2]);
  assert.deepEqual(torch.conv2d(x, f(1, 1, 2, 2), null, [2]).shape, [1, 1, 2, 2]);
  assert.throws(() => torch.max_pool2d(x, [2, 2, 2]), /kernel_size takes 2 numbers, not 3/);
});
