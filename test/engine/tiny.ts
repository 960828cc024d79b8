import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { type Config, getCfg } from '../../src/config/index.js';
import { BACKBONE_REGISTRY } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';

/** A backbone so small that a training takes a second; with dropout, so that the generator's state matters. */
class TinyBackbone extends torch.nn.Module {
  readonly conv1 = new torch.nn.Conv2d(3, 8, 3, { stride: 4, padding: 1, bias: false });
  readonly bn1 = new torch.nn.BatchNorm2d(8);
  readonly conv2 = new torch.nn.Conv2d(8, 16, 3, { stride: 2, padding: 1 });
  readonly dropout = new torch.nn.Dropout(0.2);

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.dropout.call(this.conv2.call(this.bn1.call(this.conv1.call(x)).relu()));
  }
}

BACKBONE_REGISTRY.register('build_tiny_backbone', () => new TinyBackbone());

const IDS = 6;
const CAMERAS = 4;

/**
 * Writes a data set in Market-1501's layout under `root` (as `emoji-reid`): coloured noise, six identities, pictures of
 * `side` × `side` pixels.
 */
export async function writeTinySet(root: string, side = 32): Promise<void> {
  const folders = { bounding_box_train: [1, 2, 3], query: [0], bounding_box_test: [1, 2, 3] };
  for (const [folder, cameras] of Object.entries(folders)) {
    const path = join(root, 'emoji-reid', folder);
    mkdirSync(path, { recursive: true });
    for (let id = 1; id <= IDS; id++) {
      for (const camera of cameras.filter((c) => c < CAMERAS)) {
        const pixels = Buffer.alloc(side * side * 3);
        for (let i = 0; i < pixels.length; i++)
          pixels[i] = (id * 37 * ((i % 3) + 1) + camera * 11 + ((i * 31) % 60)) % 256;
        const name = `${String(id).padStart(4, '0')}_c${camera + 1}s1_000001_01.jpg`;
        await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
          .jpeg()
          .toFile(join(path, name));
      }
    }
  }
}

/** 3 epochs of 4 iterations over the tiny set; `FASTREID_DATASETS` says where it is. */
export function tinyConfig(outputDir: string, overrides: unknown[] = []): Config {
  return getCfg()
    .mergeFromList([
      ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.NAME', 'build_tiny_backbone', 'MODEL.BACKBONE.FEAT_DIM', 16],
      ...['MODEL.LOSSES.NAME', '("CrossEntropyLoss", "TripletLoss")'],
      ...['INPUT.SIZE_TRAIN', [32, 32], 'INPUT.SIZE_TEST', [32, 32], 'INPUT.FLIP.ENABLED', true],
      ...['INPUT.PADDING.ENABLED', true, 'INPUT.PADDING.SIZE', 4, 'INPUT.REA.ENABLED', true],
      ...[
        'DATASETS.NAMES',
        '("EmojiReID",)',
        'DATASETS.TESTS',
        '("EmojiReID",)',
        'DATALOADER.NUM_WORKERS',
        2,
      ],
      ...['DATALOADER.SAMPLER_TRAIN', 'NaiveIdentitySampler', 'DATALOADER.NUM_INSTANCE', 2],
      ...['SOLVER.IMS_PER_BATCH', 4, 'SOLVER.MAX_EPOCH', 3, 'SOLVER.BASE_LR', 0.01, 'SOLVER.WARMUP_ITERS', 6],
      ...['SOLVER.SCHED', 'CosineAnnealingLR', 'SOLVER.CHECKPOINT_PERIOD', 1, 'TEST.EVAL_PERIOD', 1],
      ...['OUTPUT_DIR', outputDir],
    ])
    .mergeFromList(overrides);
}
