import { readFileSync } from 'node:fs';
import { type Config, getCfg } from '../../src/config/index.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from './paths.js';

/** The reference values that are not arrays: `test/golden/<section>.json`. */
export function goldenJson<T>(section: string): Record<string, T> {
  return JSON.parse(readFileSync(goldenPath(`${section}.json`), 'utf8'));
}

/** The reference arrays: `test/golden/<section>.safetensors`. */
export function goldenTensors(section: string): (key: string) => torch.Tensor {
  const tensors = torch.loadSafetensors(goldenPath(`${section}.safetensors`));
  return (key) => {
    const tensor = tensors.get(key);
    if (tensor === undefined) throw new Error(`${section}.safetensors has no '${key}'`);
    return tensor;
  };
}

/** The configuration that all reference models share, with `options` (`{'MODEL.BACKBONE.DEPTH': '18x'}`) over it. */
export function referenceCfg(options: Record<string, unknown> = {}): Config {
  const cfg = getCfg();
  cfg.mergeFromList(
    Object.entries({
      'MODEL.DEVICE': 'cpu',
      'INPUT.SIZE_TRAIN': [64, 32],
      'INPUT.SIZE_TEST': [64, 32],
      'MODEL.HEADS.NUM_CLASSES': 5,
      'MODEL.HEADS.WITH_BNNECK': true,
      'MODEL.LOSSES.NAME': ['CrossEntropyLoss', 'TripletLoss'],
      'MODEL.LOSSES.CE.EPSILON': 0.1,
      'MODEL.LOSSES.TRI.HARD_MINING': true,
      'MODEL.LOSSES.TRI.MARGIN': 0.3,
      ...options,
    }).flat(),
  );
  return cfg;
}
