import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rng } from '../../src/data/rng.js';
import {
  compose,
  drawErasing,
  padAndRandomCrop,
  paddedSource,
  randomErasing,
  randomHorizontalFlip,
  toFloat,
} from '../../src/data/transforms/index.js';
import * as torch from '../../src/torch/index.js';
import { byteDifference, goldenImage } from './golden.js';

const picture = goldenImage('image'); // 3 × 61 × 37
const batchOf = (n: number): torch.Tensor => picture.unsqueeze(0).repeat([n, 1, 1, 1]);
const equal = (a: torch.Tensor, b: torch.Tensor): boolean => Boolean(a.equal(b));

test('flip: each picture or not, with the given probability', () => {
  const flipped = goldenImage('hflip');
  assert.ok(equal(randomHorizontalFlip(1)(batchOf(2), new Rng(0)).select(0, 1), flipped));
  assert.ok(equal(randomHorizontalFlip(0)(batchOf(2), new Rng(0)), batchOf(2)));
  const n = 200;
  const result = randomHorizontalFlip(0.3)(batchOf(n), new Rng(1));
  let count = 0;
  for (let i = 0; i < n; i++) {
    const one = result.select(0, i);
    const isFlipped = equal(one, flipped);
    assert.ok(isFlipped || equal(one, picture));
    if (isFlipped) count++;
  }
  assert.ok(Math.abs(count - 60) < 30, `${count}`);
});

test('padding repeats the border as torchvision does', () => {
  for (const mode of ['edge', 'reflect', 'symmetric'] as const) {
    const rows = torch.tensor(BigInt64Array.from(paddedSource(61, 5, mode), BigInt));
    const columns = torch.tensor(BigInt64Array.from(paddedSource(37, 5, mode), BigInt));
    const padded = picture.index_select(1, rows).index_select(2, columns);
    assert.equal(byteDifference(padded, goldenImage(`pad5_${mode}`)).max, 0, mode);
  }
  assert.throws(
    () => paddedSource(4, 4, 'reflect'),
    /padding 4 is too wide for 4 pixels in mode 'reflect': at most 3/,
  );
  assert.deepEqual(paddedSource(2, 2, 'symmetric'), [1, 0, 0, 1, 1, 0]);
});

test('pad and crop: every picture is some piece of the padded one, all pieces equally likely', () => {
  for (const mode of ['constant', 'edge', 'reflect', 'symmetric'] as const) {
    const padded = goldenImage(`pad5_${mode}`);
    const result = padAndRandomCrop(5, mode)(batchOf(6), new Rng(3));
    assert.deepEqual(result.shape, [6, 3, 61, 37]);
    for (let i = 0; i < 6; i++) {
      let found = false;
      for (let top = 0; top <= 10 && !found; top++) {
        for (let left = 0; left <= 10 && !found; left++) {
          found = equal(result.select(0, i), padded.narrow(1, top, 61).narrow(2, left, 37));
        }
      }
      assert.ok(found, `${mode} ${i}`);
    }
  }
  // Pictures whose pixels tell where they came from: 1 + row * 7 + column of a 7 × 7 picture.
  const n = 4000;
  const numbered = torch.arange(1, 50).view([1, 1, 7, 7]).expand([n, 3, 7, 7]);
  const corner = padAndRandomCrop(2, 'constant')(numbered, new Rng(4)).select(1, 0).select(1, 2).select(1, 2);
  const counts = new Map<number, number>();
  for (const value of corner.tolist() as number[]) counts.set(value, (counts.get(value) ?? 0) + 1);
  assert.equal(counts.size, 25);
  for (const count of counts.values()) assert.ok(Math.abs(count - n / 25) < 65, `${count}`);
});

test('erasing draws areas and ratios in torchvision’s ranges, places uniformly', () => {
  const rng = new Rng(5);
  const [height, width] = [256, 128];
  let area = 0;
  let logRatio = 0;
  let top = 0;
  const n = 4000;
  for (let i = 0; i < n; i++) {
    const one = drawErasing(rng, height, width)!;
    assert.ok(one.top >= 0 && one.left >= 0);
    assert.ok(one.top + one.height <= height && one.left + one.width <= width);
    assert.ok(one.height < height && one.width < width);
    const part = (one.height * one.width) / (height * width);
    assert.ok(part > 0.018 && part < 0.34, `${part}`);
    const ratio = one.height / one.width;
    assert.ok(ratio > 0.27 && ratio < 3.6, `${ratio}`);
    area += part / n;
    logRatio += Math.log(ratio) / n;
    top += one.top / (height - one.height) / n;
  }
  // Wide rectangles often do not fit and are drawn anew: hence the mean below 0.175, and ratios above 1.
  assert.ok(area > 0.15 && area < 0.178, `${area}`);
  assert.ok(logRatio > 0.02 && logRatio < 0.3, `${logRatio}`);
  assert.ok(Math.abs(top - 0.5) < 0.02, `${top}`);
  assert.equal(drawErasing(rng, 1, 1000), undefined, 'nothing fits');
});

test('erasing changes one rectangle, to the given colour', () => {
  const n = 100;
  const value = [1.5, 2.5, 3.5];
  const before = torch.zeros([n, 3, 32, 16]);
  const after = randomErasing(0.5, value)(before, new Rng(6));
  let erased = 0;
  for (let i = 0; i < n; i++) {
    const one = after.select(0, i);
    const mask = one.select(0, 0).ne(0);
    const count = Number(mask.sum().item());
    if (count === 0) continue;
    erased++;
    for (const [channel, colour] of value.entries()) {
      assert.ok(equal(one.select(0, channel), mask.to(torch.float32).mul(colour)));
    }
    const rows = Number(mask.any(1).sum().item());
    const columns = Number(mask.any(0).sum().item());
    assert.equal(rows * columns, count, 'a rectangle');
  }
  assert.ok(Math.abs(erased - 50) < 25, `${erased}`);
  assert.throws(() => randomErasing(1, [1, 2])(before, new Rng(0)), /REA\.VALUE needs 3 numbers/);
});

test('a pipeline is decided by its generator alone, and leaves nothing behind', () => {
  const pipeline = compose([
    padAndRandomCrop(4, 'constant'),
    randomHorizontalFlip(0.5),
    toFloat,
    randomErasing(0.5, [124, 116, 104]),
  ]);
  const input = batchOf(16);
  const first = pipeline(input, new Rng(7));
  assert.equal(first.dtype, torch.float32);
  assert.deepEqual(first.shape, [16, 3, 61, 37]);
  assert.ok(equal(first, pipeline(input, new Rng(7))));
  assert.ok(!equal(first, pipeline(input, new Rng(8))));
  assert.ok(!equal(first.select(0, 0), first.select(0, 1)), 'each picture has parameters of its own');
});
