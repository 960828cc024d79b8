// What would go wrong on a GPU first, looked for on the CPU: tensors made without saying on which device, and steps
// that wait for the device.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { buildModel } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { refusingToWait } from '../support/fake_recorder.js';
import { TRAININGS } from '../support/model_cases.js';

torch.setNumThreads(1);

const isTensor = (value: unknown): boolean =>
  value instanceof torch.Tensor || (Array.isArray(value) && value.some(isTensor));

/** Calls that make a tensor of nothing, without a device. */
function madeAnywhere(body: () => void): string[] {
  const found: string[] = [];
  torch.observeOperators(({ name, args, result }) => {
    const placed = args.some(
      (arg) => isTensor(arg) || (arg as { device?: unknown } | null)?.device !== undefined,
    );
    if (isTensor(result) && !placed) found.push(name);
  }, body);
  return found;
}

for (const [name, options] of Object.entries(TRAININGS)) {
  test(`${name}: tensors are made where the model is, and nothing is read back`, () => {
    const cfg = getCfg().mergeFromList([
      ...['MODEL.DEVICE', 'cpu', 'MODEL.BACKBONE.DEPTH', '18x', 'MODEL.BACKBONE.FEAT_DIM', 512],
      ...['MODEL.HEADS.NUM_CLASSES', 5, 'INPUT.SIZE_TRAIN', [64, 32], ...options],
    ]);
    const model = buildModel(cfg, () => undefined);
    model.prepareTraining();
    const images = torch.zeros([4, 3, ...cfg.INPUT.SIZE_TRAIN], { dtype: torch.uint8 });
    const targets = torch.tensor([0n, 0n, 1n, 1n]);
    const step = (): void =>
      torch.scope(() => {
        const terms = Object.values(model.losses({ images, targets }));
        terms.reduce((sum, term) => sum.add(term)).backward();
      });
    assert.deepEqual(
      madeAnywhere(() => refusingToWait(step)),
      [],
    );
    model.eval();
    assert.deepEqual(
      madeAnywhere(() => torch.scope(() => void model.embed(images))),
      [],
    );
  });
}

test('the check finds both', () => {
  assert.deepEqual(
    madeAnywhere(() => void torch.arange(3)),
    ['arange'],
  );
  assert.deepEqual(
    madeAnywhere(() => void torch.arange(3, { device: 'cpu' })),
    [],
  );
  assert.throws(() => refusingToWait(() => torch.ones([1]).item()), /must not wait: item/);
  assert.throws(() => refusingToWait(() => torch.ones([1]).nonzero()), /must not wait: nonzero/);
});
