import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BACKBONE_REGISTRY,
  buildModel,
  type Config,
  DATASET_REGISTRY,
  DefaultPredictor,
  DefaultTrainer,
  getCfg,
  HookBase,
  hooks,
  META_ARCH_REGISTRY,
  type Results,
  SimpleTrainer,
  TrainerBase,
} from 'reid-native';
import * as torch from 'reid-native/torch';

test('the package is used by its name, with types', () => {
  const cfg: Config = getCfg();
  cfg.MODEL.HEADS.NUM_CLASSES = 3;
  const depth: string = cfg.MODEL.BACKBONE.DEPTH;
  assert.equal(depth, '50x');
  for (const part of [DefaultTrainer, DefaultPredictor, SimpleTrainer, TrainerBase, HookBase, buildModel]) {
    assert.equal(typeof part, 'function');
  }
  const results: Results = { mAP: 1 };
  assert.deepEqual(results, { mAP: 1 });
  assert.ok(new hooks.IterationTimer() instanceof HookBase);
});

test('what a configuration may name is registered', () => {
  assert.ok(META_ARCH_REGISTRY.has('Baseline'));
  assert.ok(BACKBONE_REGISTRY.has('build_resnet_backbone'));
  assert.ok(DATASET_REGISTRY.has('Market1501'));
  assert.ok(DATASET_REGISTRY.has('EmojiReID'));
});

test('reid-native/torch and the toolbox share one libtorch', () => {
  const x: torch.Tensor = torch.ones([2, 2]);
  assert.equal(x.sum().item(), 4);
  assert.ok(new torch.nn.Linear(2, 2).weight instanceof torch.Tensor);
});
