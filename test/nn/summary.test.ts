import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

class Shared extends torch.nn.Module<[torch.Tensor], { out: torch.Tensor; both: torch.Tensor[] }> {
  readonly first = new torch.nn.Linear(4, 4);
  readonly again = this.first;
  readonly unused = new torch.nn.Linear(4, 2);

  protected override forward(x: torch.Tensor): { out: torch.Tensor; both: torch.Tensor[] } {
    const y = this.again.call(this.first.call(x));
    const own = y.mm(y.t());
    return { out: own, both: [y, own.sum()] };
  }
}

describe('nn.summarize', () => {
  test('paths, types, shapes, parameters and MACs of a stack of layers', () => {
    const model = new torch.nn.Sequential(
      new torch.nn.Conv2d(3, 8, 3, { padding: 1, bias: false }),
      new torch.nn.BatchNorm2d(8),
      new torch.nn.Sequential(new torch.nn.Flatten(), new torch.nn.Linear(8 * 4 * 4, 10)),
    );
    [...model.parameters()][0]!.requiresGrad_(false);
    const { modules, result, activationBytes } = torch.nn.summarize(model, torch.ones([2, 3, 4, 4]));
    assert.deepEqual(result.shape, [2, 10]);
    // Convolution, normalisation and linear layer; flatten is a view.
    assert.equal(activationBytes, 4 * (256 + 256 + 20));
    const conv = 2 * 8 * 16 * 27;
    const linear = 2 * 10 * 128;
    const rows = modules.map((m) => [m.path, m.type, m.depth, m.outputs, m.parameters, m.trainable, m.macs]);
    assert.deepEqual(rows, [
      ['', 'Sequential', 0, [[2, 10]], 216 + 16 + 1290, 16 + 1290, conv + linear],
      ['0', 'Conv2d', 1, [[2, 8, 4, 4]], 216, 0, conv],
      ['1', 'BatchNorm2d', 1, [[2, 8, 4, 4]], 16, 16, 0],
      ['2', 'Sequential', 1, [[2, 10]], 1290, 1290, linear],
      ['2.0', 'Flatten', 2, [[2, 128]], 0, 0, 0],
      ['2.1', 'Linear', 2, [[2, 10]], 1290, 1290, linear],
    ]);
  });

  test('shared modules, own operators, modules that are not called', () => {
    const { modules } = torch.nn.summarize(new Shared(), torch.ones([3, 4]));
    assert.deepEqual(
      modules.map((m) => [m.path, m.calls, m.parameters, m.ownMacs, m.macs]),
      [
        ['', 1, 30, 36, 2 * 48 + 36],
        ['first', 2, 20, 2 * 48, 2 * 48],
        ['unused', 0, 10, 0, 0],
      ],
    );
    assert.deepEqual(modules[0]!.outputs, [[3, 3], [3, 4], []]);
    assert.deepEqual(modules[2]!.outputs, []);
  });

  test('leaves no hook behind, not even after an error', () => {
    const model = new torch.nn.Sequential(new torch.nn.Linear(4, 4));
    const before = torch.memoryStats().liveTensors;
    torch.scope(() => void torch.nn.summarize(model, torch.ones([1, 4])));
    assert.throws(() => torch.scope(() => torch.nn.summarize(model, torch.ones([1, 5]))), /aten::linear/);
    assert.ok(torch.memoryStats().liveTensors <= before);
    const seen: string[] = [];
    torch.observeOperators(
      ({ name }) => seen.push(name),
      () => model.call(torch.ones([1, 4])),
    );
    assert.deepEqual(seen, ['ones', 'linear']);
  });
});
