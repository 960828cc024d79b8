import type { Config } from '../../config/index.js';
import { ImageProgram, PADDING_MODES, type PaddingMode } from '../../torch/image-program.js';
import type { Rng } from '../rng.js';
import { augMix } from './augmix.js';
import { autoAugment } from './auto-augment.js';
import { colorJitter } from './colour.js';
import { randomErasing } from './erasing.js';
import {
  centerCrop,
  padAndRandomCrop,
  type Range,
  randomAffine,
  randomHorizontalFlip,
  randomResizedCrop,
  resize,
  type Size,
} from './geometry.js';
import { RandomPatch } from './random-patch.js';
import { type BatchStep, type ImageTransform, randomApply } from './transform.js';

/** How pictures become a batch. */
export interface ImagePipeline {
  /** Of the pictures in a batch. */
  readonly size: Size;
  /** What is to be done with the next picture. */
  draw(rng: Rng): ImageProgram;
  /** What is done with the batch, where it needs other pictures. */
  readonly batchStep?: BatchStep;
}

function pipeline(size: Size, transforms: readonly ImageTransform[], batchStep?: BatchStep): ImagePipeline {
  const draw = (rng: Rng): ImageProgram => {
    const program = new ImageProgram();
    for (const transform of transforms) transform(program, rng);
    return program;
  };
  return { size, draw, batchStep };
}

/**
 * The INPUT section as a pipeline, each step if enabled. For training: AutoAugment → resize → random resized crop →
 * pad and random crop → flip → colour jitter → affine → AugMix → float 0–255 → erasing → random patch; for testing:
 * resize → centre crop → float. Throws a RangeError that names the key on values that make no sense.
 */
export function buildTransforms(cfg: Config, isTrain = true): ImagePipeline {
  return isTrain ? trainTransforms(cfg) : testTransforms(cfg);
}

function testTransforms({ INPUT }: Config): ImagePipeline {
  const { steps, size } = resizing('INPUT.SIZE_TEST', INPUT.SIZE_TEST);
  if (!INPUT.CROP.ENABLED) return pipeline(known(size, 'INPUT.SIZE_TEST', INPUT.SIZE_TEST), steps);
  const cropped = cropSize(INPUT.CROP.SIZE);
  return pipeline(cropped, [...steps, centerCrop(cropped)]);
}

function trainTransforms({ INPUT }: Config): ImagePipeline {
  const { AUTOAUG, CROP, PADDING, FLIP, CJ, AFFINE, AUGMIX, REA, RPT } = INPUT;
  const resized = resizing('INPUT.SIZE_TRAIN', INPUT.SIZE_TRAIN);
  const steps: ImageTransform[] = [];
  if (AUTOAUG.ENABLED) steps.push(randomApply(probability('INPUT.AUTOAUG.PROB', AUTOAUG.PROB), autoAugment));
  steps.push(...resized.steps);
  if (CROP.ENABLED) {
    const scale = range('INPUT.CROP.SCALE', CROP.SCALE);
    steps.push(randomResizedCrop(cropSize(CROP.SIZE), scale, range('INPUT.CROP.RATIO', CROP.RATIO)));
  }
  let size = CROP.ENABLED ? cropSize(CROP.SIZE) : known(resized.size, 'INPUT.SIZE_TRAIN', INPUT.SIZE_TRAIN);
  if (PADDING.ENABLED) {
    const [height, width = height] = INPUT.SIZE_TRAIN;
    if (height <= 0)
      throw new RangeError('INPUT.PADDING cuts out pieces of INPUT.SIZE_TRAIN: give that size');
    steps.push(padAndRandomCrop(paddingOf(PADDING.SIZE), paddingModeOf(PADDING.MODE), size, [height, width]));
    size = [height, width];
  }
  if (FLIP.ENABLED) steps.push(randomHorizontalFlip(probability('INPUT.FLIP.PROB', FLIP.PROB)));
  if (CJ.ENABLED) {
    const strengths = {
      brightness: strength('INPUT.CJ.BRIGHTNESS', CJ.BRIGHTNESS),
      contrast: strength('INPUT.CJ.CONTRAST', CJ.CONTRAST),
      saturation: strength('INPUT.CJ.SATURATION', CJ.SATURATION),
      hue: strength('INPUT.CJ.HUE', CJ.HUE, 0.5),
    };
    steps.push(randomApply(probability('INPUT.CJ.PROB', CJ.PROB), colorJitter(strengths)));
  }
  if (AFFINE.ENABLED) steps.push(randomAffine());
  if (AUGMIX.ENABLED) steps.push(randomApply(probability('INPUT.AUGMIX.PROB', AUGMIX.PROB), augMix(size)));
  if (REA.ENABLED)
    steps.push(randomErasing(probability('INPUT.REA.PROB', REA.PROB), REA.VALUE.map(Number), size));
  const patches = RPT.ENABLED ? new RandomPatch(probability('INPUT.RPT.PROB', RPT.PROB)) : undefined;
  return pipeline(size, steps, patches);
}

/** Two numbers are height and width; one, the length of the shorter side; 0 or less, no resizing at all. */
function resizing(key: string, value: readonly number[]): { steps: ImageTransform[]; size?: Size } {
  if (value.length > 0 && value[0] <= 0) return { steps: [] };
  if (value.length < 1 || value.length > 2 || !value.every((n) => Number.isInteger(n) && n > 0)) {
    throw new RangeError(`${key} must be [height, width] in pixels, for example [256, 128]; got [${value}]`);
  }
  const [height, width] = value;
  if (width === undefined) return { steps: [resize(height)] };
  return { steps: [resize([height, width])], size: [height, width] };
}

function known(size: Size | undefined, key: string, value: readonly number[]): Size {
  if (size) return size;
  throw new RangeError(
    `${key} [${value}] leaves pictures of different sizes, which make no batch: give [height, width], or cut them to ` +
      'one size with INPUT.CROP.ENABLED True',
  );
}

function cropSize(value: readonly number[]): Size {
  const [height, width = height] = value;
  if (value.length > 2 || ![height, width].every((n) => Number.isInteger(n) && n > 0)) {
    throw new RangeError(`INPUT.CROP.SIZE must be [height, width] in pixels, got [${value}]`);
  }
  return [height, width];
}

function range(key: string, value: readonly number[]): Range {
  const [low, high] = value;
  if (value.length !== 2 || !(low > 0 && high >= low && Number.isFinite(high))) {
    throw new RangeError(`${key} must be two numbers above 0, the lower one first, got [${value}]`);
  }
  return [low, high];
}

function strength(key: string, value: number, most = Number.MAX_VALUE): number {
  if (value >= 0 && value <= most) return value;
  const limits = most < 1 ? `from 0 to ${most}` : '0 or more';
  throw new RangeError(`${key} must be ${limits}, got ${value}`);
}

function probability(key: string, value: number): number {
  if (!(value >= 0 && value <= 1))
    throw new RangeError(`${key} must be a probability from 0 to 1, got ${value}`);
  return value;
}

function paddingOf(value: number): number {
  if (!Number.isInteger(value) || value < 0)
    throw new RangeError(`INPUT.PADDING.SIZE must be 0 or more, got ${value}`);
  return value;
}

function paddingModeOf(mode: string): PaddingMode {
  if (!PADDING_MODES.includes(mode)) {
    throw new RangeError(`INPUT.PADDING.MODE must be one of ${PADDING_MODES.join(', ')}, got '${mode}'`);
  }
  return mode as PaddingMode;
}
