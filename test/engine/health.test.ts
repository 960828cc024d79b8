import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AMPTrainer } from '../../src/engine/amp-trainer.js';
import {
  ActivationHealth,
  CallbackHook,
  NonFiniteDetector,
  NonFiniteError,
  ParameterHealth,
  PeriodicWriter,
} from '../../src/engine/hooks/index.js';
import { SimpleTrainer } from '../../src/engine/simple-trainer.js';
import { JsonWriter } from '../../src/engine/writers/json.js';
import * as torch from '../../src/torch/index.js';
import './support.js';

torch.setNumThreads(1);
type Tensor = torch.Tensor;

/** A batch as loaders make them, with a label that is not a floating-point number. */
interface Batch {
  images: Tensor;
  targets: Tensor;
}

class Block extends torch.nn.Module {
  readonly conv = new torch.nn.Conv2d(2, 4, 1);
  readonly act = new torch.nn.ReLU({ inplace: true });
  protected override forward(x: Tensor): Tensor {
    return this.act.call(this.conv.call(x));
  }
}

class Model extends torch.nn.Module<[Batch]> {
  readonly backbone = new torch.nn.Sequential(new Block(), new torch.nn.Conv2d(4, 3, 1));
  readonly head = new torch.nn.Linear(3, 2);
  /** What is done between the modules. */
  between = (x: Tensor): Tensor => x;
  protected override forward({ images, targets }: Batch): Tensor {
    const features = this.between(this.backbone.call(images).mean([2, 3]));
    return torch.cross_entropy_loss(this.head.call(features), targets);
  }
}

const LR = 0.1;

function trainer(batches = 4): [SimpleTrainer<Batch>, Model] {
  torch.manualSeed(2);
  const model = new Model();
  const data = Array.from({ length: batches }, () => ({
    images: torch.randn([2, 2, 3, 3]),
    targets: torch.tensor([0n, 1n]),
  }));
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: LR });
  return [new SimpleTrainer<Batch>(model, data, optimizer), model];
}

test('gradient norms and update ratios by group, at the chosen iterations', async () => {
  const [train, model] = trainer();
  const expected: number[][] = [];
  const norm = (values: number[][]): number => Math.hypot(...values.flat());
  const flat = (x: Tensor): number[] => x.detach().reshape([-1]).tolist() as number[];
  model.head.bias!.requiresGrad_(false);
  train.registerHooks([
    new ParameterHealth({ model, every: 2, depth: 2 }),
    new CallbackHook({
      afterBackward: () => {
        const { conv } = model.getModule('backbone.0') as unknown as Block;
        const gradient = norm([flat(conv.weight.grad!), flat(conv.bias!.grad!)]);
        expected.push([gradient, (LR * gradient) / norm([flat(conv.weight), flat(conv.bias!)])]);
      },
    }),
  ]);
  await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 });
  const names = [...train.storage.histories().keys()].filter((name) => name.startsWith('health/')).sort();
  assert.deepEqual(names, [
    'health/grad_norm/backbone.0',
    'health/grad_norm/backbone.1',
    'health/grad_norm/head',
    'health/update_ratio/backbone.0',
    'health/update_ratio/backbone.1',
    'health/update_ratio/head',
  ]);
  for (const [k, what] of ['grad_norm', 'update_ratio'].entries()) {
    const entries = train.storage.history(`health/${what}/backbone.0`).entries();
    assert.deepEqual(
      entries.map(([, iteration]) => iteration),
      [0, 2],
    );
    for (const [value, iteration] of entries) {
      const wanted = expected[iteration]![k]!;
      assert.ok(Math.abs(value - wanted) <= 1e-5 * wanted, `${what} at ${iteration}: ${value} for ${wanted}`);
    }
  }
});

test('metrics.json has the largest norm, and the mean of the others, since the line before', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-health-'));
  try {
    const [train, model] = trainer(10);
    const path = join(folder, 'metrics.json');
    train.registerHooks([
      new ParameterHealth({ model, every: 1 }),
      new ActivationHealth({ model, layers: 'backbone.0', every: 2 }),
      new PeriodicWriter(() => [new JsonWriter(path)], 4),
    ]);
    await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 10 });
    const lines = readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, number>);
    const mean = (xs: number[]): number => xs.reduce((a, b) => a + b) / xs.length;
    const shown = {
      'health/grad_norm/head': (xs: number[]) => Math.max(...xs),
      'health/update_ratio/head': mean,
      'health/mean/backbone.0': mean,
      'health/std/backbone.0': mean,
      'health/dead/backbone.0': mean,
    };
    for (const [name, of] of Object.entries(shown)) {
      const put = train.storage.history(name).entries();
      const windows = [0, 4, 8].map((start) =>
        put.filter(([, iteration]) => Math.floor(iteration / 4) * 4 === start).map(([value]) => value),
      );
      const written = lines.flatMap((line) => (name in line ? [line[name]] : []));
      assert.deepEqual(written, windows.map(of), name);
      assert.ok(new Set(windows[0]).size > 1 || name.includes('dead'), 'values that differ');
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('activations: mean, deviation, dead units', async () => {
  const [train, model] = trainer();
  const { conv } = model.getModule('backbone.0') as unknown as Block;
  torch.noGrad(() => {
    conv.weight.zero_();
    conv.bias!.copy_(torch.tensor([3, -1, 1, -2]));
  });
  train.registerHooks([new ActivationHealth({ model, layers: 'backbone.*', every: 3 })]);
  await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
  const latest = (name: string): number => train.storage.history(`health/${name}`).entries()[0]![0];
  assert.equal(latest('mean/backbone.0'), 1);
  assert.ok(Math.abs(latest('std/backbone.0') - Math.sqrt(1.5)) < 1e-6);
  assert.equal(latest('dead/backbone.0'), 0.5);
  assert.deepEqual(
    train.storage
      .history('health/dead/backbone.1')
      .entries()
      .map(([, at]) => at),
    [0],
  );
  assert.throws(() => new ActivationHealth({ model, layers: 'neck.*' }), /no module of Model matches/);
});

const undefinedAt =
  (train: SimpleTrainer<Batch>, iteration: number, spoil: (x: Tensor) => Tensor) => (x: Tensor) =>
    train.iter === iteration ? spoil(x) : x;

test('the first module whose output is not finite is named, and the batch saved', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-health-'));
  try {
    const [train, model] = trainer();
    const block = model.getModule('backbone.0') as unknown as Block;
    const spoil = undefinedAt(train, 1, (x) => x.sub(1e9).log());
    block.conv.registerForwardHook((_module, _args, output) => spoil(output));
    const before = (): number[] => model.head.weight.detach().reshape([-1]).tolist() as number[];
    let weights = before();
    train.registerHooks([
      new NonFiniteDetector({ model, folder: join(folder, 'new') }),
      new CallbackHook({
        beforeStep: () => {
          weights = before();
        },
      }),
    ]);
    await assert.rejects(train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 }), (error: NonFiniteError) => {
      assert.ok(error instanceof NonFiniteError);
      assert.equal(error.module, 'backbone.0.conv');
      assert.match(
        error.message,
        /^iteration 1: the output of backbone\.0\.conv is the first that is not finite; its input was/,
      );
      return true;
    });
    assert.deepEqual(before(), weights);
    assert.deepEqual(readdirSync(join(folder, 'new')), ['nonfinite_iter_0000001.safetensors']);
    const saved = torch.loadSafetensors(join(folder, 'new/nonfinite_iter_0000001.safetensors'));
    assert.equal(saved.metadata.get('module'), 'backbone.0.conv');
    assert.deepEqual(saved.get('images')!.shape, [2, 2, 3, 3]);
    assert.deepEqual(saved.get('targets')!.tolist(), [0, 1]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('an operator between modules, a batch, a gradient', async () => {
  const run = async (change: (train: SimpleTrainer<Batch>, model: Model) => void): Promise<string> => {
    const [train, model] = trainer();
    change(train, model);
    train.registerHooks([new NonFiniteDetector({ model })]);
    let message = '';
    await assert.rejects(train.trainLoop({ maxEpoch: 1, itersPerEpoch: 4 }), (error: Error) => {
      message = `${error.name}: ${error.message}`;
      return true;
    });
    // Without the detector's hooks the model is called as before.
    model.between = (x) => x;
    torch.scope(() => void model.call({ images: torch.ones([1, 2, 3, 3]), targets: torch.tensor([0n]) }));
    return message;
  };
  assert.match(
    await run((train, model) => {
      model.between = undefinedAt(train, 2, (x) => x.div(0));
    }),
    /^NonFiniteError: iteration 2: the input of head is the first that is not finite: it comes from an operator/,
  );
  assert.match(
    await run((_train, model) => {
      model.backbone.registerForwardPreHook((_module, [x]) => [x!.div(0)]);
    }),
    /iteration 0: the input of backbone is the first/,
  );
  assert.match(
    await run((train, model) => {
      // Finite, with an infinite slope at 0.
      model.between = undefinedAt(train, 1, (x) => x.add(x.mul(0).sqrt()));
    }),
    /iteration 1: the gradient that came back to the output of backbone\.1 is the first/,
  );
});

test('a healthy training is not disturbed', async () => {
  const [train, model] = trainer();
  train.registerHooks([new NonFiniteDetector({ model })]);
  await train.trainLoop({ maxEpoch: 2, itersPerEpoch: 4 });
  const [plain, other] = trainer();
  await plain.trainLoop({ maxEpoch: 2, itersPerEpoch: 4 });
  assert.deepEqual(model.head.weight.tolist(), other.head.weight.tolist());
});

test('float16: gradients that overflow for the scale of the loss are left to the GradScaler', async () => {
  const scaled = (initScale: number): [AMPTrainer<Batch>, Model] => {
    const [{ model, dataLoader, optimizer }] = trainer();
    const gradScaler = new torch.amp.GradScaler({ initScale, growthInterval: 1000 });
    const options = { device: 'cpu', dtype: torch.float16, gradScaler };
    return [new AMPTrainer(model, dataLoader, optimizer as torch.optim.SGD, options), model as Model];
  };
  const [train, model] = scaled(2 ** 24);
  train.registerHooks([new NonFiniteDetector({ model })]);
  await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 20 });
  assert.ok(train.lossScale < 2 ** 24, 'a step was left out');
  assert.ok(train.lossScale > 1);

  // Not for its scale: the module is named as soon as that cannot be the reason.
  const [broken, other] = scaled(4);
  other.head.registerForwardHook((_module, _args, output) => {
    output.registerHook((grad) => grad.mul(Number.NaN));
  });
  broken.registerHooks([new NonFiniteDetector({ model: other })]);
  await assert.rejects(broken.trainLoop({ maxEpoch: 1, itersPerEpoch: 20 }), (error: NonFiniteError) => {
    assert.match(error.message, /^iteration 2: the gradient that came back to the output of head/);
    return true;
  });
});
