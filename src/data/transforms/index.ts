export {
  type BatchTransform,
  compose,
  padAndRandomCrop,
  randomErasing,
  randomHorizontalFlip,
  toFloat,
} from './batch.js';
export { buildTransforms, type ImagePipeline } from './build.js';
export { drawErasing, type PaddingMode, paddedSource, type Rectangle } from './parameters.js';
