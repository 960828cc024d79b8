import assert from 'node:assert/strict';
import { sideInformation } from '../../src/modeling/backbones/cameras.js';
import { BACKBONE_REGISTRY, CameraBackbone } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';

/** Cameras that the backbone was called with, by mode. */
export const seen = { training: new Set<number>(), evaluation: new Set<number>() };

/** Mean colours plus an embedding of the camera, which has to be told. */
export class ColourBackbone extends CameraBackbone {
  readonly conv = new torch.nn.Conv2d(3, 16, 1);
  readonly sie_embed = new torch.nn.Parameter(torch.zeros([3, 1, 16], { dtype: torch.float32 }));

  protected override forward(images: torch.Tensor, camids?: torch.Tensor): torch.Tensor {
    assert.ok(camids);
    const numbers = (camids.tolist() as (number | bigint)[]).map(Number);
    for (const each of numbers) seen[this.training ? 'training' : 'evaluation'].add(each);
    const camera = sideInformation(this.sie_embed, camids, this.training);
    return this.conv.call(images).add(camera.view([-1, 16, 1, 1]));
  }
}

BACKBONE_REGISTRY.register('build_colour_backbone', () => new ColourBackbone());

/** Overrides of the tiny configuration for it. */
export const COLOUR = ['MODEL.BACKBONE.NAME', 'build_colour_backbone', 'MODEL.BACKBONE.SIE_CAMERAS', 3];
