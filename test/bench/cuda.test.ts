import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { cuda, cudaMissing } from '../../bench/cuda.js';
import { skipWithout } from '../support/devices.js';
import { pythonTorch, repoRoot } from '../support/paths.js';

test('in small on the CPU: all figures, beside Python’s', () => {
  const figures = cuda(1, { only: ['float32'], device: 'cpu', tiny: true });
  const name = 'float32, batch 4';
  assert.deepEqual(
    figures.map((figure) => [figure.name, figure.unit]),
    [
      [`${name}: training`, 'images/s'],
      [`${name}: to the end of the first step`, 's'],
      [`${name}: time of a step ÷ its floor`, ''],
      ['product of bfloat16 matrices', 'TFLOP/s'],
      ['operations of a step', 'GFLOP/image'],
      ['floor', 'images/s'],
    ],
  );
  for (const { name: each, ours, python } of figures) {
    assert.ok(ours > 0, each);
    if (pythonTorch() && each.startsWith(name)) assert.ok((python ?? 0) > 0, `${each} of Python`);
  }
  // ResNet-18 with last stride 1 at 32×32: about 0.06 GMAC an image forward.
  const operations = figures[4].ours;
  assert.ok(operations > 0.2 && operations < 0.6, String(operations));
  const [speed, , distance, , , floor] = figures.map(({ ours }) => ours);
  assert.ok(Math.abs(distance - floor / speed) < 1e-9 * distance);
});

test('in small on a GPU: recorded steps stand beside recorded and eager ones', skipWithout('cuda'), () => {
  const figures = cuda(1, { only: ['tf32-graph'], tiny: true });
  const name = 'tf32-graph, batch 4';
  const rows = figures.filter((figure) => figure.name.startsWith(name));
  const twin = pythonTorch() === undefined ? undefined : 'recorded too';
  assert.deepEqual(
    rows
      .filter((row) => !row.name.includes('eager') && !row.name.includes('FastReID'))
      .map((row) => [row.name, row.twin]),
    [
      [`${name}: training`, twin],
      // None for tensors: a replay's are not counted.
      [`${name}: peak memory taken`, twin],
      [`${name}: to the end of the first step`, twin],
      [`${name}: time of a step ÷ its floor`, undefined],
    ],
  );
  assert.ok(rows.every(({ ours }) => ours > 0));
  if (!pythonTorch()) return;
  assert.ok(rows.every(({ python }) => (python ?? 0) > 0));
  assert.equal(rows.find((row) => row.name === `${name}: training, beside eager PyTorch`)?.twin, 'eager');
});

test('variants that there are not: those there are are named', () => {
  assert.throws(
    () => cuda(1, { only: ['int8'] }),
    /no such variants: int8; there are float16, float16-graph, .*float32$/,
  );
  assert.throws(
    () => cuda(1, { only: ['bfloat16-graph'], device: 'cpu' }),
    /no such variants: bfloat16-graph/,
  );
});

test('without a GPU the suite says why it is left out, and fails when it was asked for', {
  skip: cudaMissing() === undefined && 'a CUDA device is here',
}, () => {
  const main = join(repoRoot, 'dist/bench/main.js');
  const { status, stderr } = spawnSync(process.execPath, [main, 'cuda'], { encoding: 'utf8' });
  assert.equal(status, 1);
  assert.match(stderr, /^cuda: (no CUDA device is here|the addon was built without CUDA)/);
});
