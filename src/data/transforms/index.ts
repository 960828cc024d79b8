export { augMix } from './augmix.js';
export { autoAugment } from './auto-augment.js';
export { buildTransforms, type ImagePipeline } from './build.js';
export { colorJitter, type JitterStrengths } from './colour.js';
export { drawErasing, type Rectangle, randomErasing } from './erasing.js';
export {
  affineMap,
  centerCrop,
  padAndRandomCrop,
  randomAffine,
  randomHorizontalFlip,
  randomResizedCrop,
  resize,
} from './geometry.js';
export { RandomPatch } from './random-patch.js';
export { type BatchStep, type ImageTransform, randomApply } from './transform.js';
