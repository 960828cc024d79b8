import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

/** Positions by sorting, which is stable; not-a-numbers count as infinite. */
function bySorting(values: torch.Tensor, columns: torch.Tensor): torch.Tensor {
  const finite = values.nan_to_num(Infinity, Infinity, -Infinity);
  const [, order] = torch.sort(finite, { stable: true, dim: 1 }) as [torch.Tensor, torch.Tensor];
  const position = order.argsort(1);
  return position.gather(1, columns.clamp_min(0).long()).int().masked_fill(columns.lt(0), -1);
}

const kinds: [name: string, make: (n: number, m: number) => torch.Tensor][] = [
  ['distinct numbers', (n, m) => torch.randn([n, m])],
  ['many equal ones', (n, m) => torch.randint(0, 7, [n, m]).float()],
  ['float64', (n, m) => torch.randn([n, m], { dtype: torch.float64 })],
  [
    'both infinities and not-a-numbers',
    (n, m) => {
      const special = torch.tensor([0, 1, Infinity, -Infinity, Number.NaN]);
      return special.index_select(0, torch.randint(0, 5, [n * m])).view([n, m]);
    },
  ],
];

for (const [name, make] of kinds) {
  test(`positions of columns, with ${name}: those of a stable sort`, () => {
    torch.manualSeed(1);
    for (const [n, m, k] of [
      [1, 1, 1],
      [5, 40, 60],
      [3, 9001, 17],
      [2, 3000, 1500],
    ]) {
      torch.scope(() => {
        const values = make(n, m);
        const columns = torch.randint(-1, m, [n, k]).int();
        const found = torch.sortedPositions(values, columns);
        assert.ok(found.equal(bySorting(values, columns)), `[${n}, ${m}], ${k} columns`);
      });
    }
  });
}

test('entries before some numbers, piece by piece: the positions in the whole row', () => {
  torch.manualSeed(2);
  for (const [n, m, k, piece] of [
    [4, 100, 30, 7],
    [2, 9001, 9, 5000],
    [2, 3000, 1500, 1000],
  ]) {
    torch.scope(() => {
      const values = torch.randint(0, 50, [n, m]).float();
      const columns = torch.randint(-1, m, [n, k]).int();
      const none = columns.lt(0);
      const bounds = values.gather(1, columns.clamp_min(0).long()).masked_fill(none, Number.NaN);
      const counts = torch.zeros([n, k]).int();
      for (let from = 0; from < m; from += piece) {
        const some = values.narrow(1, from, Math.min(piece, m - from));
        counts.add_(torch.countBefore(some, bounds, columns.sub(from)));
      }
      assert.ok(counts.masked_fill(none, -1).equal(torch.sortedPositions(values, columns)), `${k} of ${m}`);
    });
  }
  const [values, bounds] = [torch.tensor([[Number.NaN, 1]]), torch.tensor([[2, Number.NaN]])];
  assert.deepEqual(torch.countBefore(values, bounds, torch.zeros([1, 2]).int()).tolist(), [[1, 0]]);
  for (const wrong of [torch.zeros([1, 1]), torch.zeros([1, 2], { dtype: torch.float64 })]) {
    assert.throws(
      () => torch.countBefore(values, wrong, torch.zeros([1, 2]).int()),
      /bounds must have the shape/,
    );
  }
  assert.throws(() => torch.countBefore(values, bounds, torch.zeros([1, 2])), /columns must be int32/);
});

test('positions: views, and nothing to do', () => {
  torch.scope(() => {
    const values = torch
      .tensor([
        [3, 1],
        [2, 0],
      ])
      .t();
    const columns = torch.tensor([[0], [1]]).int();
    assert.deepEqual(torch.sortedPositions(values, columns).tolist(), [[1], [0]]);
    for (const [m, k] of [
      [3, 0],
      [0, 0],
    ]) {
      const none = torch.zeros([2, k]).int();
      assert.deepEqual(torch.sortedPositions(torch.zeros([2, m]), none).shape, [2, k]);
    }
    assert.deepEqual(torch.sortedPositions(torch.zeros([0, 3]), torch.zeros([0, 2]).int()).shape, [0, 2]);
  });
});

test('positions: wrong tensors are refused', () => {
  torch.scope(() => {
    const [values, columns] = [torch.zeros([2, 3]), torch.zeros([2, 1]).int()];
    assert.throws(() => torch.sortedPositions(values.int(), columns), /values must be float32 or float64/);
    assert.throws(() => torch.sortedPositions(values, columns.long()), /columns must be int32/);
    assert.throws(() => torch.sortedPositions(values.to('meta'), columns), /on the CPU/);
    assert.throws(() => torch.sortedPositions(values, torch.zeros([3, 1]).int()), /equally many rows/);
    assert.throws(() => torch.sortedPositions(values.flatten(), columns), /must be matrices/);
    assert.throws(() => torch.sortedPositions(values, columns.add(3).int()), /no column 3/);
  });
});
