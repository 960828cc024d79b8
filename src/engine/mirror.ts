import type { Config } from '../config/index.js';
import { ImageModel, type MetaArch } from '../modeling/index.js';
import type { Tensor } from '../torch/index.js';

/**
 * What makes mirror images for TEST.FLIP. FastReID's model normalises pixels in place, so that its mirror images are
 * normalised a second time.
 */
export function mirrorOf(cfg: Config, model: MetaArch): ((images: Tensor) => Tensor) | undefined {
  if (!cfg.TEST.FLIP.ENABLED) return undefined;
  const twice = cfg.COMPAT === 'fastreid' && model instanceof ImageModel;
  return (images) => (twice ? model.normalize(images) : images).flip([3]);
}
