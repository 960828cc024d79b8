import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { buildModel } from '../../src/modeling/index.js';
import { buildOptimizer } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';
import { fastreidConfigs } from '../support/fastreid_configs.js';
import { images } from '../support/fill.js';

// Keys and names that a project of FastReID adds by its own code, and this library has not.
const PROJECTS: Record<string, RegExp> = {
  'projects/FastAttr/': /no such configuration key: MODEL.LOSSES.BCE/,
  'projects/FastFace/': /no such configuration key: MODEL.(HEADS.PFC|BACKBONE.DROPOUT)/,
  'projects/FastRetri/configs/(cars|cub|inshop|sop)': /no such configuration key: TEST.RECALLS/,
  'projects/NAIC20/': /no such configuration key: SOLVER.FREEZE_FC_ITERS/,
  'projects/PartialReID/': /unknown meta-architecture 'PartialBaseline'/,
};

const CLASSES = 4;
const folder = mkdtempSync(join(tmpdir(), 'fastreid-teacher-'));
after(() => rmSync(folder, { recursive: true }));
/** In place of the trained models that some files name. */
const teacher = { config: join(folder, 'teacher.yaml'), weights: join(folder, 'teacher.pth') };
const silent = (): void => {};
torch.setNumThreads(1);

before(async () => {
  const cfg = getCfg();
  cfg.mergeFromList([
    ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.FEAT_DIM', 512],
    ...['MODEL.HEADS.NUM_CLASSES', CLASSES],
  ]);
  writeFileSync(teacher.config, cfg.dump());
  await torch.save(new Map([['model', buildModel(cfg, silent).stateDict()]]), teacher.weights);
});

/** The file's configuration as far as a training step on little images with two cores goes. */
function reduced(path: string): Config {
  const cfg = getCfg();
  cfg.mergeFromFile(path);
  const height = cfg.MODEL.META_ARCHITECTURE === 'MGN' ? 96 : 64;
  cfg.mergeFromList([
    ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.PRETRAIN', false, 'MODEL.HEADS.NUM_CLASSES', CLASSES],
    ...['INPUT.SIZE_TRAIN', [height, 32], 'INPUT.SIZE_TEST', [height, 32]],
  ]);
  if (cfg.KD.MODEL_CONFIG.length > 0) {
    cfg.KD.MODEL_CONFIG = [teacher.config];
    cfg.KD.MODEL_WEIGHTS = [teacher.weights];
  }
  return cfg;
}

for (const [name, path] of fastreidConfigs()) {
  const refusal = Object.entries(PROJECTS).find(([files]) => new RegExp(files).test(name))?.[1];
  if (refusal !== undefined) {
    test(`${name} asks for a project's own code, and the error says for what`, () => {
      assert.throws(() => buildModel(reduced(path), silent), refusal);
    });
    continue;
  }
  test(`${name} trains`, () => {
    const cfg = reduced(path);
    const model = buildModel(cfg, silent);
    const optimizer = buildOptimizer(cfg, model);
    const [height, width] = cfg.INPUT.SIZE_TRAIN;
    const targets = torch.tensor([0, 0, 1, 1], { dtype: torch.int64 });
    const parameters = [...model.namedParameters()];
    const initial = parameters.map(([, p]) => p.detach().clone());
    torch.scope(() => {
      const losses = Object.values(model.losses({ images: images(name, 4, height, width), targets }));
      const total = losses.reduce((sum, loss) => sum.add(loss));
      assert.ok(Number.isFinite(total.item()), `loss ${total.item()}`);
      total.backward();
      optimizer.step();
    });
    const frozen = cfg.SOLVER.FREEZE_ITERS > 0 ? cfg.MODEL.FREEZE_LAYERS : [];
    const isFrozen = (key: string) => frozen.some((layer) => key.startsWith(`${layer}.`));
    const moved = new Set<string>();
    parameters.forEach(([key, p], i) => {
      assert.ok(torch.isfinite(p).all().item(), key);
      if (!torch.equal(p, initial[i])) moved.add(key);
    });
    const free = parameters.filter(([key, p]) => p.requiresGrad && !isFrozen(key));
    assert.deepEqual([...moved].filter(isFrozen), []);
    assert.ok(moved.size > 0.9 * free.length, `${moved.size} of ${free.length} parameters moved`);
  });
}
