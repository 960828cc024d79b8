import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from './closeness.js';
import { fill, fillModel } from './fill.js';
import { goldenJson, goldenTensors } from './golden.js';

interface Reference {
  keys: [string, number[]][];
  train: boolean;
}

/** Of a reference in single precision, from double precision, in which rounding does not depend on the processor. */
const LIMIT = 1e-5;
/** What is 0 in exact arithmetic, as the gradient of a bias before a normalisation, in parts of the largest gradient. */
const ZERO = 1e-10;

const references = goldenJson<Reference>('layers');
const tensors = goldenTensors('layers');

/**
 * Tests of one layer of the reference (`norm_BN`, `SE`, …) in training and in evaluation: state dict, output,
 * gradients of the input and of every trained parameter, and buffers after the step.
 */
export function checkLayer(name: string, make: () => torch.nn.Module, label = name): void {
  for (const mode of ['train', 'eval']) {
    const key = `${name}/${mode}`;
    test(`${label}/${mode}: state, output, gradients and buffers are FastReID's`, () => {
      const layer = make().train(mode === 'train');
      const state = [...layer.stateDict()].map(([entry, t]) => [entry, t.shape]);
      assert.deepEqual(state, references[key].keys);
      fillModel(layer, 1);
      layer.to({ dtype: torch.float64 });
      const x = tensors(`${key}/x`).double().requiresGrad_();
      const y = layer.call(x);
      y.backward(fill(`cot:${key}`, y.shape).double());
      const found = new Map<string, torch.Tensor | null>([
        ['y', y],
        ['dx', x.grad],
      ]);
      for (const [entry, p] of layer.namedParameters()) if (p.requiresGrad) found.set(`d:${entry}`, p.grad);
      for (const [entry, buffer] of layer.namedBuffers()) {
        if (buffer.dtype.isFloatingPoint && /running_(mean|var)$/.test(entry))
          found.set(`after:${entry}`, buffer);
      }
      const gradients = [...found].filter(([part]) => part.startsWith('d'));
      const largest = Math.max(...gradients.map(([, tensor]) => size(tensor)));
      for (const [part, tensor] of found) {
        assert.ok(tensor, `${key}/${part}`);
        const isZero = part.startsWith('d') && size(tensor) < ZERO * largest;
        const difference = deviation(tensor, tensors(`${key}/${part}`), isZero ? largest : 0);
        assertWithin(difference, LIMIT, `${key}/${part}`);
      }
    });
  }
}

function size(tensor: torch.Tensor | null): number {
  return Number(tensor?.detach().abs().max().item() ?? 0);
}
