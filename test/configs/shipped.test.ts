import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { BACKBONE_REGISTRY, buildModel, META_ARCH_REGISTRY } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { repoRoot } from '../support/paths.js';

const files = readdirSync(join(repoRoot, 'configs'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yml'))
  .sort()
  .map((name) => `configs/${name}`);

const usedBackbones = new Set<string>();
const usedMetaArchs = new Set<string>();
torch.setNumThreads(1);

for (const file of files) {
  test(`${file} names its launch line and gives features`, () => {
    const path = join(repoRoot, file);
    const comment = /^(#.*\n)+/.exec(readFileSync(path, 'utf8'))?.[0] ?? '';
    assert.match(comment, new RegExp(`^#   (npx )?reid-native .*${file}$`, 'm'));

    const cfg = getCfg();
    cfg.mergeFromFile(path);
    usedBackbones.add(cfg.MODEL.BACKBONE.NAME);
    usedMetaArchs.add(cfg.MODEL.META_ARCHITECTURE);
    const size = cfg.MODEL.META_ARCHITECTURE === 'MGN' ? [96, 32] : [64, 32];
    cfg.mergeFromList([
      ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.PRETRAIN', false, 'MODEL.HEADS.NUM_CLASSES', 3],
      ...['INPUT.SIZE_TRAIN', size, 'INPUT.SIZE_TEST', size],
    ]);
    const model = buildModel(cfg, () => {}).eval();
    torch.scope(() => {
      const features = model.embed(torch.full([1, 3, size[0], size[1]], 100));
      assert.equal(features.shape[0], 1);
      assert.equal(features.dim(), 2);
      assert.ok(torch.isfinite(features).all().item());
    });
  });
}

test('every backbone and meta-architecture has a configuration', () => {
  assert.deepEqual([...usedBackbones].sort(), BACKBONE_REGISTRY.names().sort());
  assert.deepEqual([...usedMetaArchs].sort(), META_ARCH_REGISTRY.names().sort());
});
