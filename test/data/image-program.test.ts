import assert from 'node:assert/strict';
import { test } from 'node:test';
import { processImageInto } from '../../src/torch/image.js';
import { type ImageFilter, ImageProgram } from '../../src/torch/image-program.js';
import * as torch from '../../src/torch/index.js';
import { byteDifference, goldenBytes, goldenImage, pillowImage } from './golden.js';

const { bytes: source, shape } = goldenBytes('image'); // 61 × 37 × 3
const program = (): ImageProgram => new ImageProgram();

async function run(
  steps: ImageProgram,
  [height, width]: readonly number[] = shape,
  { pixels = source, from = shape, dtype = torch.uint8 } = {},
): Promise<torch.Tensor> {
  const out = torch.zeros([1, 3, height, width], { dtype });
  const [failure] = await processImageInto(pixels, from[0], from[1], out, 0, steps);
  if (failure) throw new Error(failure.message);
  return out.select(0, 0);
}

async function equals(steps: ImageProgram, expected: torch.Tensor, what: string): Promise<void> {
  const result = await run(steps, expected.shape.slice(1));
  const { max, part } = byteDifference(result, expected);
  assert.equal(max, 0, `${what}: ${(100 * part).toFixed(2)} % of the values differ, by up to ${max}`);
}

test('colour steps equal PIL', async () => {
  for (const factor of ['0.5', '0.9', '1.3']) {
    await equals(program().brightness(+factor), goldenImage(`brightness/${factor}`), `brightness ${factor}`);
    await equals(program().contrast(+factor), goldenImage(`contrast/${factor}`), `contrast ${factor}`);
    await equals(program().saturation(+factor), goldenImage(`saturation/${factor}`), `saturation ${factor}`);
  }
  for (const factor of ['0.0', '0.1', '0.7', '1.9']) {
    await equals(program().brightness(+factor), pillowImage(`brightness/${factor}`), `brightness ${factor}`);
    await equals(program().contrast(+factor), pillowImage(`contrast/${factor}`), `contrast ${factor}`);
    await equals(program().saturation(+factor), pillowImage(`color/${factor}`), `colour ${factor}`);
    await equals(program().sharpness(+factor), pillowImage(`sharpness/${factor}`), `sharpness ${factor}`);
  }
  for (const turn of ['-0.1', '0.05', '0.4'])
    await equals(program().hue(+turn), goldenImage(`hue/${turn}`), `hue ${turn}`);
});

test('histogram and point steps equal PIL', async () => {
  await equals(program().contrast(0.4).autocontrast(), pillowImage('autocontrast'), 'autocontrast');
  await equals(program().equalize(), pillowImage('equalize'), 'equalize');
  await equals(program().invert(), pillowImage('invert'), 'invert');
  for (const bits of [0, 3, 6])
    await equals(program().posterize(bits), pillowImage(`posterize/${bits}`), `posterize ${bits}`);
  for (const threshold of [0, 77, 256])
    await equals(
      program().solarize(threshold),
      pillowImage(`solarize/${threshold}`),
      `solarize ${threshold}`,
    );
  // One value only: nothing to stretch, nothing to even out.
  const flat = { pixels: new Uint8Array(12).fill(77), from: [2, 2, 3] };
  const result = await run(program().autocontrast().equalize(), [2, 2], flat);
  assert.equal(byteDifference(result, torch.full([3, 2, 2], 77, { dtype: torch.uint8 })).max, 0);
});

test('affine maps equal PIL, whatever the filter', async () => {
  for (const filter of ['nearest', 'bilinear', 'bicubic'] as ImageFilter[]) {
    const options = { filter, fill: 128 };
    for (const degrees of ['-24.0', '8.0']) {
      const angle = (-Number(degrees) * Math.PI) / 180;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      const rotation = program().affine({ matrix: [cos, sin, -sin, cos], ...options });
      await equals(rotation, pillowImage(`rotate/${degrees}/${filter}`), `rotate ${degrees} ${filter}`);
    }
    const corner = { center: [0, 0] as const, ...options };
    for (const k of ['-0.27', '0.12']) {
      const [x, y] = [program(), program()];
      x.affine({ matrix: [1, +k, 0, 1], ...corner });
      y.affine({ matrix: [1, 0, +k, 1], ...corner });
      await equals(x, pillowImage(`shear_x/${k}/${filter}`), `shear x ${k} ${filter}`);
      await equals(y, pillowImage(`shear_y/${k}/${filter}`), `shear y ${k} ${filter}`);
    }
    const [x, y] = [program(), program()];
    x.affine({ matrix: [1, 0, 0, 1], relativeShift: [0.405, 0], ...corner });
    y.affine({ matrix: [1, 0, 0, 1], relativeShift: [0, -0.405], ...corner });
    await equals(x, pillowImage(`translate_x/0.405/${filter}`), `translate x ${filter}`);
    await equals(y, pillowImage(`translate_y/-0.405/${filter}`), `translate y ${filter}`);
  }
});

test('resizing, cropping, padding and mirroring equal PIL and torchvision', async () => {
  for (const [height, width] of [
    [256, 128],
    [30, 20],
    [61, 37],
  ]) {
    const key = `resize_bicubic/${height}x${width}`;
    await equals(program().resize(height, width), goldenImage(key), key);
  }
  await equals(program().centerCrop(40, 24), goldenImage('center_crop/40x24'), 'centre');
  await equals(program().mirror(), goldenImage('hflip'), 'mirror');
  for (const mode of ['constant', 'edge', 'reflect', 'symmetric'] as const) {
    const padded = goldenImage(`pad5_${mode}`);
    await equals(program().padAndCrop(5, mode, [0, 0], [71, 47]), padded, mode);
    const piece = padded.narrow(1, 9, 61).narrow(2, 2, 37).contiguous();
    await equals(program().padAndCrop(5, mode, [9, 2], [61, 37]), piece, `${mode}, a piece`);
  }
  // Mirrored twice is itself, whatever form the picture is kept in between.
  await equals(program().mirror().resize(61, 37).mirror(), goldenImage('image'), 'twice');
  const short = await run(program().resizeShorter(32), [52, 32]);
  await equals(program().resize(52, 32), short, 'shorter side');
});

test('a centre crop larger than the picture is black around it', async () => {
  const result = await run(program().centerCrop(66, 30), [66, 30]);
  const inner = goldenImage('image').narrow(2, 4, 30); // (37 − 30) / 2 = 3.5, to the even side
  assert.equal(byteDifference(result.narrow(1, 2, 61), inner).max, 0);
  assert.equal(Number(result.narrow(1, 0, 2).max().item()), 0);
  assert.equal(Number(result.narrow(1, 63, 3).max().item()), 0);
});

test('a resized crop takes the first shape that fits', async () => {
  const ratio = 30 / 41;
  const area = (30 * 41) / (61 * 37);
  const place = [7.5 / (61 - 41 + 1), 3.5 / (37 - 30 + 1)] as const;
  const crop = program().resizedCrop(50, 28, {
    shapes: [
      [0.9, 100],
      [area, ratio],
      [0.5, 1],
    ],
    place,
    ratios: [0.5, 2],
  });
  await equals(crop, pillowImage('crop_resize/50x28'), 'crop');
  // None fits: the middle, as tall as a ratio of 1 allows.
  const middle = program().resizedCrop(37, 37, { shapes: [[2, 1]], place, ratios: [1, 2] });
  await equals(middle, goldenImage('image').narrow(1, 12, 37).contiguous(), 'middle');
  const whole = program().resizedCrop(61, 37, { shapes: [], place, ratios: [0.1, 2] });
  await equals(whole, goldenImage('image'), 'whole');
});

test('a mixture equals NumPy’s', async () => {
  const angle = (-2 * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const mixture = program().mix(0.4, [
    { weight: 0.2, steps: [program().equalize()] },
    { weight: 0.5, steps: [program().posterize(4)] },
    { weight: 0.3, steps: [program().affine({ matrix: [cos, sin, -sin, cos], filter: 'bilinear' })] },
  ]);
  await equals(mixture, pillowImage('mix'), 'mix');
});

test('rectangles are painted last, in any colour in a float batch', async () => {
  const patch = { top: 3, left: 30, height: 5, width: 7 };
  const steps = program().erase(patch, [1.25, 130.5, 260]).mirror();
  const floats = await run(steps, shape, { dtype: torch.float32 });
  const part = (image: torch.Tensor): torch.Tensor => image.narrow(1, 3, 5).narrow(2, 30, 7);
  for (const [channel, value] of [1.25, 130.5, 260].entries()) {
    const colour = part(floats).select(0, channel);
    assert.equal(Number(colour.min().item()), value);
    assert.equal(Number(colour.max().item()), value);
  }
  const bytes = await run(steps);
  assert.deepEqual(
    [0, 1, 2].map((channel) => part(bytes).select(0, channel).max().item()),
    [1, 130, 255].map(Number),
  );
  const untouched = goldenImage('hflip').to(torch.float32);
  part(floats).copy_(part(untouched));
  assert.ok(floats.equal(untouched));
});

test('a program that cannot be is refused, and nothing crashes', async () => {
  await assert.rejects(run(program().resize(10, 10), [12, 12]), /make it 10 x 10 pixels, but .* 12 x 12/);
  await assert.rejects(run(program().padAndCrop(70, 'reflect', [0, 0], [9, 9])), /a side of 61/);
  await assert.rejects(
    run(program().erase({ top: 60, left: 0, height: 2, width: 1 }, [0, 0, 0])),
    /reaches over the picture/,
  );
  for (const bad of [Number.NaN, -1, 1e9]) {
    await assert.rejects(run(program().resize(bad, 10)), /out of its range/);
    await assert.rejects(run(program().posterize(bad)), /out of its range/);
  }
  const different = [{ weight: 1, steps: [program().resize(9, 9)] }];
  await assert.rejects(run(program().mix(0.5, different)), /different sizes cannot be mixed/);
  // Numbers cut off, or any numbers at all.
  const out = torch.zeros([1, 3, 8, 8], { dtype: torch.uint8 });
  let x = 1;
  for (let i = 0; i < 500; i++) {
    const numbers = Array.from({ length: i % 23 }, () => {
      x = (Math.imul(x, 1103515245) + 12345) >>> 0;
      return ((x >>> 8) % 40) - 5 + (i % 2) / 2;
    });
    const encoded = { encode: () => Float64Array.from(numbers) } as unknown as ImageProgram;
    await processImageInto(new Uint8Array(48), 4, 4, out, 0, encoded);
  }
  await assert.rejects(
    processImageInto(new Uint8Array(48), 4, 4, out, 0, { encode: () => 5 } as unknown as ImageProgram),
    /must be a Float64Array/,
  );
});
