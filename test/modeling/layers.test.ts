import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLS_LAYER_REGISTRY, getNorm, POOLING_REGISTRY } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { fill } from '../support/fill.js';
import { goldenJson, goldenTensors } from '../support/golden.js';

const LIMIT = 1e-5;
const pooled = goldenTensors('pooling');
const scored = goldenTensors('softmax');

for (const name of POOLING_REGISTRY.names()) {
  test(`pooling ${name}: output and gradients are FastReID's`, () => {
    const Layer = POOLING_REGISTRY.get(name);
    const layer = new Layer();
    // The reference fills a bare layer's exponent as any other parameter, instead of leaving it at 3.
    for (const [key, p] of layer.namedParameters()) {
      torch.noGrad(() => p.copy_(fill(key, p.shape, (v) => 0.1 * v)));
    }
    const { keys } = goldenJson<{ keys: [string, number[]][] }>('pooling')[name];
    assert.deepEqual(
      [...layer.stateDict()].map(([key, t]) => [key, t.shape]),
      keys,
    );
    const x = pooled(`${name}/x`).clone().requiresGrad_();
    const y = layer.call(x);
    assertWithin(deviation(y, pooled(`${name}/y`)), LIMIT, `${name}, output`);
    y.backward(fill(`cot:${name}`, y.shape));
    assert.ok(x.grad);
    assertWithin(deviation(x.grad, pooled(`${name}/dx`)), LIMIT, `${name}, gradient`);
    for (const [key, parameter] of layer.namedParameters()) {
      assert.ok(parameter.grad);
      assertWithin(
        deviation(parameter.grad, pooled(`${name}/d:${key}`)),
        LIMIT,
        `${name}, gradient of ${key}`,
      );
    }
  });
}

interface Softmax {
  scale: number;
  margin: number;
}

for (const [key, entry] of Object.entries(goldenJson<Softmax | number[]>('softmax'))) {
  if (Array.isArray(entry)) continue;
  test(`classification ${key}: output and gradients are FastReID's`, () => {
    const Layer = CLS_LAYER_REGISTRY.get(key.split('/')[0]);
    const layer = new Layer({ numClasses: 10, scale: entry.scale, margin: entry.margin });
    const named = key.endsWith('/missing') ? 'targets_missing' : 'targets';
    const targets = torch.tensor(goldenJson<number[]>('softmax')[named], { dtype: torch.int64 });
    const feature = scored('feature').clone().requiresGrad_();
    const weight = scored('weight').clone().requiresGrad_();
    const out = layer.call(layer.score(feature, weight), targets);
    out.mul(fill('sm_cot', out.shape)).sum().backward();
    assert.ok(feature.grad && weight.grad);
    assertWithin(deviation(out, scored(`${key}/out`)), LIMIT, `${key}, output`);
    assertWithin(
      deviation(feature.grad, scored(`${key}/dfeature`)),
      LIMIT,
      `${key}, gradient of the features`,
    );
    assertWithin(deviation(weight.grad, scored(`${key}/dweight`)), LIMIT, `${key}, gradient of the weights`);
  });
}

test('BN can keep its shift fixed', () => {
  const layer = getNorm('BN', 4, { freezeBias: true });
  const trained = [...layer.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name);
  assert.deepEqual(trained, ['weight']);
});

test('an unknown layer name lists the known ones', () => {
  assert.throws(() => getNorm('BM', 4), /unknown normalisation layer 'BM'.*Registered: BN/);
  assert.throws(() => POOLING_REGISTRY.get('GlobalAvgPol'), /Did you mean 'GlobalAvgPool'/);
});
