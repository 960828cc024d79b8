import { LOSS_REGISTRY } from './build.js';
import { crossEntropyLoss } from './cross_entropy.js';
import { focalLoss } from './focal.js';
import { pairwiseCircleLoss, pairwiseCosface } from './pairwise.js';
import { tripletLoss } from './triplet.js';

export { buildLosses, LOSS_REGISTRY, type NamedLoss } from './build.js';
export { type CrossEntropyOptions, crossEntropyLoss } from './cross_entropy.js';
export { cosineDistances, euclideanDistances } from './distance.js';
export { type DistillationOptions, jsdivLoss } from './distillation.js';
export { type FocalOptions, focalLoss } from './focal.js';
export { type PairwiseOptions, pairwiseCircleLoss, pairwiseCosface } from './pairwise.js';
export { type TripletOptions, tripletLoss } from './triplet.js';

LOSS_REGISTRY.register('CrossEntropyLoss', (cfg) => {
  const { EPSILON: epsilon, ALPHA: alpha, SCALE: scale } = cfg.MODEL.LOSSES.CE;
  return {
    key: 'loss_cls',
    on: 'logits',
    compute: (outputs, targets) =>
      crossEntropyLoss(outputs.cls_outputs, targets, { epsilon, alpha }).mul(scale),
  };
});

LOSS_REGISTRY.register('TripletLoss', (cfg) => {
  const { MARGIN: margin, NORM_FEAT: normFeat, HARD_MINING: hardMining, SCALE: scale } = cfg.MODEL.LOSSES.TRI;
  const options = { margin, normFeat, hardMining };
  return {
    key: 'loss_triplet',
    on: 'features',
    compute: (outputs, targets) => tripletLoss(outputs.features, targets, options).mul(scale),
  };
});

LOSS_REGISTRY.register('CircleLoss', (cfg) => {
  const { MARGIN: margin, GAMMA: gamma, SCALE: scale } = cfg.MODEL.LOSSES.CIRCLE;
  return {
    key: 'loss_circle',
    on: 'features',
    compute: (outputs, targets) =>
      pairwiseCircleLoss(outputs.features, targets, { margin, gamma }).mul(scale),
  };
});

LOSS_REGISTRY.register('Cosface', (cfg) => {
  const { MARGIN: margin, GAMMA: gamma, SCALE: scale } = cfg.MODEL.LOSSES.COSFACE;
  return {
    key: 'loss_cosface',
    on: 'features',
    compute: (outputs, targets) => pairwiseCosface(outputs.features, targets, { margin, gamma }).mul(scale),
  };
});

LOSS_REGISTRY.register('FocalLoss', (cfg) => {
  const { ALPHA: alpha, GAMMA: gamma, SCALE: scale } = cfg.MODEL.LOSSES.FL;
  return {
    key: 'loss_focal',
    on: 'logits',
    compute: (outputs, targets) => focalLoss(outputs.cls_outputs, targets, { alpha, gamma }).mul(scale),
  };
});
