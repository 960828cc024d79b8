import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { Rng } from '../../src/data/rng.js';
import { dirichlet } from '../../src/data/transforms/dirichlet.js';
import {
  affineMap,
  autoAugment,
  buildTransforms,
  colorJitter,
  drawErasing,
  type ImageTransform,
  padAndRandomCrop,
  RandomPatch,
  randomAffine,
  randomErasing,
  randomHorizontalFlip,
  randomResizedCrop,
} from '../../src/data/transforms/index.js';
import { drawPatch } from '../../src/data/transforms/random-patch.js';
import { processImageInto } from '../../src/torch/image.js';
import { ImageProgram } from '../../src/torch/image-program.js';
import * as torch from '../../src/torch/index.js';
import { byteDifference, goldenBytes, goldenImage } from './golden.js';

const { bytes: source, shape } = goldenBytes('image');
const size = [61, 37] as const;
const equal = (a: torch.Tensor, b: torch.Tensor): boolean => Boolean(a.equal(b));

/** Codes and numbers of the steps a transform writes. */
const written = (transform: ImageTransform, rng: Rng): number[] => {
  const program = new ImageProgram();
  transform(program, rng);
  return [...program.encode()];
};

async function run(program: ImageProgram, to: readonly number[] = size, dtype = torch.uint8) {
  const out = torch.zeros([1, 3, ...to], { dtype });
  const [failure] = await processImageInto(source, shape[0], shape[1], out, 0, program);
  if (failure) throw new Error(failure.message);
  return out.select(0, 0);
}

const apply = (transform: ImageTransform, rng: Rng, to?: readonly number[]) => {
  const program = new ImageProgram();
  transform(program, rng);
  return run(program, to);
};

/** Mean, least and greatest of the numbers at `index` of what `transform` writes. */
function statistics(transform: ImageTransform, index: number, n = 4000) {
  const rng = new Rng(11);
  const values = Array.from({ length: n }, () => written(transform, rng)[index]);
  return { mean: values.reduce((a, b) => a + b) / n, low: Math.min(...values), high: Math.max(...values) };
}

function assertUniform(found: ReturnType<typeof statistics>, low: number, high: number): void {
  const width = high - low;
  assert.ok(found.low >= low && found.low < low + width / 100, `${found.low}`);
  assert.ok(found.high < high && found.high > high - width / 100, `${found.high}`);
  assert.ok(Math.abs(found.mean - (low + high) / 2) < width / 50, `${found.mean}`);
}

test('flip: each picture or not, with the given probability', async () => {
  assert.ok(equal(await apply(randomHorizontalFlip(1), new Rng(0)), goldenImage('hflip')));
  assert.ok(equal(await apply(randomHorizontalFlip(0), new Rng(0)), goldenImage('image')));
  const rng = new Rng(1);
  const count = Array.from({ length: 1000 }, () => written(randomHorizontalFlip(0.3), rng)).flat().length;
  assert.ok(Math.abs(count - 300) < 60, `${count}`);
});

test('pad and crop: every picture is some piece of the padded one, all pieces equally likely', async () => {
  for (const mode of ['constant', 'edge', 'reflect', 'symmetric'] as const) {
    const padded = goldenImage(`pad5_${mode}`);
    const result = await apply(padAndRandomCrop(5, mode, size, size), new Rng(3));
    let found = false;
    for (let top = 0; top <= 10 && !found; top++) {
      for (let left = 0; left <= 10 && !found; left++) {
        found = equal(result, padded.narrow(1, top, 61).narrow(2, left, 37));
      }
    }
    assert.ok(found, mode);
  }
  const n = 4000;
  const rng = new Rng(4);
  const counts = new Map<string, number>();
  for (let i = 0; i < n; i++) {
    const [, , , top, left] = written(padAndRandomCrop(2, 'constant', size, size), rng);
    counts.set(`${top} ${left}`, (counts.get(`${top} ${left}`) ?? 0) + 1);
  }
  assert.equal(counts.size, 25);
  for (const count of counts.values()) assert.ok(Math.abs(count - n / 25) < 65, `${count}`);
  assert.throws(() => padAndRandomCrop(2, 'edge', [10, 10], [15, 10]), /15 × 10 .* out of 10 × 10 padded/);
  assert.throws(() => padAndRandomCrop(10, 'reflect', [10, 10], [9, 9]), /PADDING\.SIZE 10 .* at most 9/);
});

test('random resized crop draws areas and ratios in their ranges, places anywhere', async () => {
  const crop = randomResizedCrop([20, 10], [0.16, 1], [3 / 4, 4 / 3]);
  const numbers = written(crop, new Rng(2));
  assert.deepEqual(numbers.slice(0, 5), [3, 20, 10, 3 / 4, 4 / 3]);
  assert.equal(numbers[7], 10, 'ten candidates');
  assertUniform(statistics(crop, 5), 0, 1);
  assertUniform(statistics(crop, 6), 0, 1);
  assertUniform(statistics(crop, 8), 0.16, 1);
  const ratio = statistics(crop, 9);
  assert.ok(ratio.low >= 0.75 && ratio.high <= 4 / 3);
  // The mean of a log-uniform variate: (b − a) / ln(b / a).
  assert.ok(Math.abs(ratio.mean - (4 / 3 - 3 / 4) / Math.log(16 / 9)) < 0.01, `${ratio.mean}`);
  assert.deepEqual((await apply(crop, new Rng(2), [20, 10])).shape, [3, 20, 10]);
});

test('colour jitter: factors in their ranges, all orders, nothing of strength 0', () => {
  const all = colorJitter({ brightness: 0.15, contrast: 0.15, saturation: 0.1, hue: 0.1 });
  const rng = new Rng(7);
  const orders = new Set<string>();
  const ranges = new Map([
    [8, [0.85, 1.15]],
    [9, [0.85, 1.15]],
    [10, [0.9, 1.1]],
  ]);
  const hues: number[] = [];
  for (let i = 0; i < 2000; i++) {
    const numbers = written(all, rng);
    assert.equal(numbers.length, 8);
    orders.add([0, 2, 4, 6].map((k) => numbers[k]).join(' '));
    for (const k of [0, 2, 4, 6]) {
      const [low, high] = ranges.get(numbers[k]) ?? [0, 255];
      assert.ok(numbers[k + 1] >= low && numbers[k + 1] <= high, `${numbers}`);
      if (numbers[k] === 11) hues.push(numbers[k + 1]);
    }
  }
  assert.equal(orders.size, 24);
  // A tenth of the circle either way, in 255ths: 0 to 25 and 231 to 255.
  assert.ok(hues.every((hue) => hue <= 25 || hue >= 231));
  assert.ok(hues.includes(24) && hues.includes(232));
  assertUniform(statistics(colorJitter({ brightness: 2, contrast: 0, saturation: 0, hue: 0 }), 1), 0, 3);
});

test('affine: torchvision’s map, with angles, scales and shears in their ranges', async () => {
  const program = new ImageProgram().affine(affineMap(8, 1.05, 4));
  const { max, part } = byteDifference(
    await run(program),
    goldenImage('affine/angle=8,translate=0,scale=1.05,shear=4'),
  );
  assert.equal(max, 0, `${part}`);
  const rng = new Rng(8);
  const angles: number[] = [];
  const scales: number[] = [];
  for (let i = 0; i < 4000; i++) {
    const numbers = written(randomAffine(), rng);
    const [a, b, d, e] = numbers.slice(5, 9);
    assert.deepEqual(numbers.slice(0, 5), [7, 0, 0, 0.5, 0.5]);
    const determinant = a * e - b * d;
    scales.push(1 / Math.sqrt(determinant));
    angles.push((Math.atan2(-d, e) * 180) / Math.PI);
  }
  const mean = (values: number[]): number => values.reduce((x, y) => x + y) / values.length;
  assert.ok(Math.abs(mean(angles)) < 0.4 && Math.max(...angles.map(Math.abs)) <= 10);
  assert.ok(Math.min(...angles) < -9.9 && Math.max(...angles) > 9.9);
  assert.ok(Math.abs(mean(scales) - 1) < 0.005);
  assert.ok(Math.min(...scales) >= 0.9 - 1e-9 && Math.max(...scales) <= 1.1 + 1e-9);
});

test('AutoAugment: each of its operations as often as the policy has it', () => {
  const rng = new Rng(9);
  const counts = new Map<number, number>();
  const n = 20_000;
  for (let i = 0; i < n; i++) {
    const numbers = written(autoAugment, rng);
    // Arguments of each code, so that the steps can be told apart.
    const lengths: Record<number, number> = { 7: 12, 9: 1, 10: 1, 12: 1, 13: 0, 14: 0, 15: 0, 16: 1, 17: 1 };
    for (let at = 0; at < numbers.length; at += 1 + lengths[numbers[at]]) {
      counts.set(numbers[at], (counts.get(numbers[at]) ?? 0) + 1);
    }
  }
  const share = (code: number): number => (25 * (counts.get(code) ?? 0)) / n;
  // Sums of the probabilities in table 9 of the paper.
  const expected = {
    7: 0.6 + 0.8 + 0.2 + 0.8 + 0.4 + 0.8 + 0.6, // six rotations and a shear
    9: 1 + 1,
    10: 0.4 + 0.6 + 1 + 0.8 + 0.4 + 0.6,
    12: 0.4,
    13: 0.6 + 0.6,
    14: 0.8 + 0.6 + 0.4 + 0.4 + 0.6 + 1 + 0.6 + 0.6 + 0 + 0.8 + 1 + 1 + 0.6 + 0.4 + 1 + 0.8 + 0.6,
    15: 0.6 + 0.6 + 0.6,
    16: 0.4 + 0.6 + 0.6 + 0.8 + 0.4,
    17: 0.6 + 0.2 + 0.6 + 0.6 + 0.8 + 0.2 + 0.6,
  };
  for (const [code, value] of Object.entries(expected)) {
    assert.ok(Math.abs(share(Number(code)) - value) < 0.15 + value / 50, `${code}: ${share(Number(code))}`);
  }
});

test('the Dirichlet distribution: means, and as uneven as its concentration says', () => {
  for (const [concentration, count] of [
    [0.1, 3],
    [0.1, 2],
    [1, 3],
    [4, 2],
  ]) {
    const rng = new Rng(10);
    let [mean, square] = [0, 0];
    const n = 20_000;
    for (let i = 0; i < n; i++) {
      const shares = dirichlet(rng, concentration, count);
      assert.ok(Math.abs(shares.reduce((a, b) => a + b) - 1) < 1e-12);
      assert.ok(shares.every((share) => share >= 0));
      mean += shares[0] / n;
      square += shares[0] ** 2 / n;
    }
    const variance = (count - 1) / (count ** 2 * (count * concentration + 1));
    assert.ok(Math.abs(mean - 1 / count) < 0.01, `${mean}`);
    assert.ok(Math.abs(square - mean ** 2 - variance) < 0.05 * variance, `${square - mean ** 2} ${variance}`);
  }
});

test('AugMix stays close to the picture, and differs from picture to picture', async () => {
  const cfg = getCfg();
  cfg.INPUT.SIZE_TRAIN = [...size];
  cfg.INPUT.AUGMIX.ENABLED = true;
  cfg.INPUT.AUGMIX.PROB = 1;
  const { draw } = buildTransforms(cfg);
  const rng = new Rng(12);
  const picture = goldenImage('image').to(torch.float32);
  const distances: number[] = [];
  for (let i = 0; i < 40; i++) {
    const mixed = (await run(draw(rng))).to(torch.float32);
    distances.push(Number(mixed.sub(picture).abs().mean().item()));
  }
  assert.ok(
    distances.some((distance) => distance < 2),
    'the mixture may weigh nothing',
  );
  assert.ok(distances.some((distance) => distance > 5));
  assert.ok(new Set(distances).size > 20);
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

test('erasing paints the given colour, with the given probability', () => {
  const rng = new Rng(6);
  const programs = Array.from({ length: 400 }, () => written(randomErasing(0.5, [1.5, 2.5, 3.5], size), rng));
  const erased = programs.filter((numbers) => numbers.length > 0);
  assert.ok(Math.abs(erased.length - 200) < 50, `${erased.length}`);
  for (const numbers of erased) assert.deepEqual(numbers.slice(5), [1.5, 2.5, 3.5]);
  assert.deepEqual(written(randomErasing(1, [9], size), rng).slice(5), [9, 9, 9]);
  assert.throws(() => randomErasing(1, [1, 2], size), /REA\.VALUE needs 3 numbers/);
});

test('random patches: from a hundred pictures on, pieces of earlier pictures are pasted', () => {
  const rng = new Rng(13);
  const step = new RandomPatch(0.5);
  const n = 120;
  // Every picture has a colour of its own, so that a patch tells where it came from.
  const fresh = (): torch.Tensor =>
    torch.arange(n, { dtype: torch.float32 }).view([n, 1, 1, 1]).expand([n, 3, 24, 12]).contiguous();
  const first = fresh();
  step.apply(first, rng);
  const changed = (images: torch.Tensor): boolean[] =>
    images.ne(fresh()).view([n, -1]).any(1).tolist() as boolean[];
  assert.ok(
    changed(first)
      .slice(0, 99)
      .every((one) => !one),
  );
  const second = fresh();
  step.apply(second, rng);
  const count = changed(second).filter(Boolean).length;
  assert.ok(Math.abs(count - n / 2) < 20, `${count}`);
  for (let i = 0; i < n; i++) {
    const values = new Set(
      (second.select(0, i).flatten().tolist() as number[]).filter((value) => value !== i),
    );
    assert.ok(values.size <= 1, 'one patch, of one picture');
  }
  const before = torch.memoryStats().liveTensors;
  step.reset();
  assert.equal(torch.memoryStats().liveTensors, before - 2 * n);
  for (let i = 0; i < 500; i++) {
    const { top, left, height, width } = drawPatch(rng, 24, 12)!;
    assert.ok(top + height <= 24 && left + width <= 12 && height < 24 && width < 12);
    assert.ok((height * width) / 288 <= 0.56);
  }
});

test('a pipeline holds every step in FastReID’s order, and is decided by its generator alone', async () => {
  const cfg = getCfg();
  cfg.INPUT.SIZE_TRAIN = [48, 24];
  for (const name of [
    'AUTOAUG',
    'CROP',
    'PADDING',
    'FLIP',
    'CJ',
    'AFFINE',
    'AUGMIX',
    'REA',
    'RPT',
  ] as const) {
    cfg.INPUT[name].ENABLED = true;
    if ('PROB' in cfg.INPUT[name]) cfg.INPUT[name].PROB = 1;
  }
  cfg.INPUT.CROP.SIZE = [40, 20];
  const pipeline = buildTransforms(cfg);
  assert.deepEqual(pipeline.size, [48, 24]);
  assert.ok(pipeline.batchStep);
  const first = await run(pipeline.draw(new Rng(7)), [48, 24], torch.float32);
  assert.ok(equal(first, await run(pipeline.draw(new Rng(7)), [48, 24], torch.float32)));
  assert.ok(!equal(first, await run(pipeline.draw(new Rng(8)), [48, 24], torch.float32)));
  cfg.INPUT.AUTOAUG.ENABLED = false;
  const numbers = [...buildTransforms(cfg).draw(new Rng(7)).encode()];
  assert.deepEqual(numbers.slice(0, 3), [1, 48, 24]);
  assert.deepEqual(numbers.slice(3, 6), [3, 40, 20]);
  const after = numbers.slice(3 + 8 + 20);
  assert.deepEqual([after[0], after[1], after[5], after[6], after[7]], [5, 10, 48, 24, 6]);
  assert.ok(after[8] >= 8 && after[8] <= 11, 'colour jitter follows the flip');
  assert.equal(after[16], 7);
  assert.equal(after[29], 18);
  assert.equal(numbers.at(-8), 19);
});

test('sizes: shorter side, none at all, and what makes no batch', async () => {
  const cfg = getCfg();
  cfg.INPUT.SIZE_TEST = [32];
  assert.throws(() => buildTransforms(cfg, false), /INPUT\.SIZE_TEST \[32\] leaves pictures of different/);
  cfg.INPUT.CROP.ENABLED = true;
  cfg.INPUT.CROP.SIZE = [30];
  const short = buildTransforms(cfg, false);
  assert.deepEqual(short.size, [30, 30]);
  const expected = goldenImage('resize_short_side_32').narrow(1, 11, 30).narrow(2, 1, 30);
  const result = await run(short.draw(new Rng(0)), [30, 30]);
  // The golden picture was resized by another filter's rounding: one level at most.
  assert.ok(byteDifference(result, expected).max <= 1);
  cfg.INPUT.SIZE_TEST = [0];
  const none = await run(buildTransforms(cfg, false).draw(new Rng(0)), [30, 30]);
  assert.ok(equal(none, goldenImage('image').narrow(1, 16, 30).narrow(2, 4, 30)));
  cfg.INPUT.SIZE_TRAIN = [0, 0];
  assert.deepEqual(buildTransforms(cfg).size, [30, 30]);
});

test('values that make no sense are refused by key', () => {
  const cases: [string, string, string][] = [
    ['INPUT.SIZE_TRAIN must be', 'SIZE_TRAIN', '[1, 2, 3]'],
    ['INPUT.CROP.SIZE must be', 'CROP.SIZE', '[0, 9]'],
    ['INPUT.CROP.SCALE must be', 'CROP.SCALE', '[1, 0.5]'],
    ['INPUT.PADDING.MODE must be', 'PADDING.MODE', 'wrap'],
    ['INPUT.PADDING.SIZE must be', 'PADDING.SIZE', '-2'],
    ['INPUT.CJ.HUE must be from 0 to 0.5', 'CJ.HUE', '0.6'],
    ['INPUT.CJ.CONTRAST must be', 'CJ.CONTRAST', '-1.0'],
    ['INPUT.AUGMIX.PROB must be a prob', 'AUGMIX.PROB', '2.0'],
    ['INPUT.RPT.PROB must be a prob', 'RPT.PROB', '-1.0'],
  ];
  for (const [message, key, value] of cases) {
    const cfg = getCfg();
    const section = key.split('.')[0];
    if (section !== key) cfg.mergeFromList([`INPUT.${section}.ENABLED`, 'True']);
    cfg.mergeFromList([`INPUT.${key}`, value]);
    assert.throws(
      () => buildTransforms(cfg),
      (error) => error instanceof RangeError && error.message.startsWith(message),
      message,
    );
  }
});
