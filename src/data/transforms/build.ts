import type { Config } from '../../config/index.js';
import {
  type BatchTransform,
  compose,
  padAndRandomCrop,
  randomErasing,
  randomHorizontalFlip,
  toFloat,
} from './batch.js';
import type { PaddingMode } from './parameters.js';

/** How pictures become a batch: decoded and resized to `size` ([height, width]), then transformed together. */
export interface ImagePipeline {
  readonly size: readonly [number, number];
  readonly transform: BatchTransform;
}

const PADDING_MODES: readonly string[] = ['constant', 'edge', 'reflect', 'symmetric'];

/**
 * The INPUT section as a pipeline. For training: resize → pad and random crop → horizontal flip → float 0–255 →
 * random erasing, each if enabled; for testing: resize → float.
 */
export function buildTransforms(cfg: Config, isTrain = true): ImagePipeline {
  const { INPUT } = cfg;
  if (!isTrain) return { size: sizeOf('INPUT.SIZE_TEST', INPUT.SIZE_TEST), transform: compose([toFloat]) };
  const steps: BatchTransform[] = [];
  if (INPUT.PADDING.ENABLED) {
    steps.push(padAndRandomCrop(paddingOf(INPUT.PADDING.SIZE), paddingModeOf(INPUT.PADDING.MODE)));
  }
  if (INPUT.FLIP.ENABLED) steps.push(randomHorizontalFlip(probability('INPUT.FLIP.PROB', INPUT.FLIP.PROB)));
  steps.push(toFloat);
  if (INPUT.REA.ENABLED) {
    steps.push(randomErasing(probability('INPUT.REA.PROB', INPUT.REA.PROB), INPUT.REA.VALUE.map(Number)));
  }
  return { size: sizeOf('INPUT.SIZE_TRAIN', INPUT.SIZE_TRAIN), transform: compose(steps) };
}

function sizeOf(key: string, size: readonly number[]): [number, number] {
  const [height, width] = size;
  if (size.length !== 2 || !size.every((n) => Number.isInteger(n) && n > 0)) {
    throw new RangeError(`${key} must be [height, width] in pixels, for example [256, 128]; got [${size}]`);
  }
  return [height, width];
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
