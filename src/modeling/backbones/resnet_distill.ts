import type { Config } from '../../config/index.js';
import type { Log } from '../build.js';
import { BACKBONE_REGISTRY } from './build.js';
import { buildResNet, type ResNet } from './resnet.js';

/**
 * `build_resnet_backbone_distill`, FastDistill's ResNet: that of `build_resnet_backbone`, key by key and number by
 * number, whose blocks hand on their sum before the activation instead of after it. Never has non-local blocks.
 */
export function buildResNetDistill(cfg: Config, log: Log): ResNet {
  if (!cfg.MODEL.BACKBONE.WITH_NL) return buildResNet(cfg, log);
  log('MODEL.BACKBONE.WITH_NL has no effect: build_resnet_backbone_distill has no such option');
  const own = cfg.clone().defrost();
  own.MODEL.BACKBONE.WITH_NL = false;
  return buildResNet(own, log);
}

BACKBONE_REGISTRY.register('build_resnet_backbone_distill', buildResNetDistill);
