import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildHeads,
  CLS_LAYER_REGISTRY,
  ClasHead,
  EmbeddingHead,
  type EmbeddingHeadOptions,
  type HeadOutputs,
} from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { referenceCfg } from '../support/golden.js';

const OPTIONS: EmbeddingHeadOptions = {
  featDim: 6,
  embeddingDim: 0,
  numClasses: 3,
  neckFeat: 'before',
  poolLayer: 'GlobalAvgPool',
  clsLayer: 'Linear',
  scale: 2,
  margin: 0,
  withBnNeck: true,
  norm: 'BN',
};
const targets = torch.zeros([5], { dtype: torch.int64 });

for (const clsLayer of CLS_LAYER_REGISTRY.names()) {
  test(`ClasHead with ${clsLayer}: evaluation gives scaled scores, training what EmbeddingHead gives`, () => {
    const options = { ...OPTIONS, clsLayer };
    const head = new ClasHead(options);
    const twin = new EmbeddingHead({ ...options, neckFeat: 'after' });
    twin.loadStateDict(head.stateDict());
    const map = torch.randn([5, 6, 3, 2]);
    const found = head.call(map, targets) as HeadOutputs;
    const expected = twin.call(map, targets) as HeadOutputs;
    for (const part of ['cls_outputs', 'pred_class_logits', 'features'] as const) {
      assert.equal(deviation(found[part], expected[part]), 0, part);
    }
    const features = twin.eval().call(map) as torch.Tensor;
    const logits = head.eval().call(map) as torch.Tensor;
    assert.equal(deviation(logits, twin.cls_layer.score(features, twin.weight).mul(2)), 0);
  });
}

test('ClasHead: the configuration names it, training needs targets', () => {
  const cfg = referenceCfg({ 'MODEL.HEADS.NAME': 'ClasHead', 'MODEL.BACKBONE.FEAT_DIM': 6 });
  const head = buildHeads(cfg, () => {});
  assert.ok(head instanceof ClasHead);
  assert.throws(() => head.call(torch.zeros([5, 6, 1, 1])), /ClasHead: training needs targets/);
});

for (const poolLayer of ['Identity', 'GlobalAvgPool', 'GeneralizedMeanPooling', 'Flatten']) {
  test(`features of a backbone that pools by itself, through ${poolLayer}`, () => {
    const features = torch.rand([5, 6]).add(0.1);
    for (const Head of [EmbeddingHead, ClasHead]) {
      for (const embeddingDim of [0, 4]) {
        const head = new Head({ ...OPTIONS, poolLayer, embeddingDim });
        const flat = head.call(features, targets) as HeadOutputs;
        const map = head.call(features.view([5, 6, 1, 1]), targets) as HeadOutputs;
        for (const part of ['cls_outputs', 'pred_class_logits', 'features'] as const) {
          assert.equal(deviation(flat[part], map[part]), 0, part);
        }
        if (Head === EmbeddingHead)
          assertWithin(deviation(flat.features, features), 1e-5, 'features before the neck');
        assert.equal((head.eval().call(features) as torch.Tensor).dim(), 2);
      }
    }
  });
}

test('Identity on a map is refused', () => {
  const head = new EmbeddingHead({ ...OPTIONS, poolLayer: 'Identity' });
  assert.throws(
    () => head.call(torch.zeros([5, 6, 3, 2]), targets),
    /POOL_LAYER: Identity leaves a map of 3 × 2/,
  );
});
