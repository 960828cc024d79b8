import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { ampDtype } from '../../src/engine/amp-trainer.js';
import {
  AMPTrainer,
  DefaultTrainer,
  hooks,
  NonFiniteGradientError,
  NonFiniteLossError,
} from '../../src/engine/index.js';
import { addClipping } from '../../src/solver/clipping.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';
import './support.js';

const folder = tinyFolder('amp');
torch.setNumThreads(1);

class Net extends torch.nn.Module<[torch.Tensor], { loss: torch.Tensor }> {
  readonly conv = new torch.nn.Conv2d(3, 4, 3);
  readonly fc = new torch.nn.Linear(4, 3);
  readonly seen: string[] = [];

  protected override forward(x: torch.Tensor): { loss: torch.Tensor } {
    const map = this.conv.call(x).relu();
    const logits = this.fc.call(map.mean([2, 3]));
    this.seen.push(map.dtype.name);
    return { loss: torch.cross_entropy_loss(logits, torch.tensor([0n, 2n])) };
  }
}

const LR = 0.5;
const MAX_NORM = 0.2;
/** Steps whose gradient overflows. */
const BAD = [1, 4];

const REFERENCE = `
import json, sys, torch
given = json.load(sys.stdin)
torch.set_num_threads(1)
torch.manual_seed(1)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.fc = torch.nn.Linear(4, 3)
    def forward(self, x):
        return torch.nn.functional.cross_entropy(self.fc(self.conv(x).relu().mean([2, 3])), torch.tensor([0, 2]))
net = Net()
xs = [torch.randn(2, 3, 5, 5) for _ in range(6)]
optimizer = torch.optim.SGD(net.parameters(), lr=given['lr'], momentum=0.9, fused=True)
optimizer._step_supports_amp_scaling = False
dtype = getattr(torch, given['dtype'])
scaler = torch.amp.GradScaler('cpu', enabled=given['dtype'] == 'float16', growth_interval=2)
losses, scales = [], []
for i, x in enumerate(xs):
    optimizer.zero_grad()
    with torch.autocast('cpu', dtype=dtype):
        loss = net(x)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    if given['dtype'] == 'float16' and i in given['bad']:
        state = scaler._per_optimizer_states[id(optimizer)]
        for t in state['found_inf_per_device'].values(): t.fill_(1)
    torch.nn.utils.clip_grad_norm_(net.parameters(), given['max_norm'])
    scaler.step(optimizer)
    scaler.update()
    losses.append(loss.item())
    scales.append(scaler.get_scale())
json.dump(dict(losses=losses, scales=scales, weights=[p.flatten().tolist() for p in net.parameters()]), sys.stdout)
`;

interface Run {
  losses: number[];
  scales: number[];
  weights: number[][];
}

async function ours(dtype: 'float16' | 'bfloat16', gradScaler: torch.amp.GradScaler): Promise<[Run, Net]> {
  torch.manualSeed(1);
  const net = new Net();
  const xs = Array.from({ length: 6 }, () => torch.randn([2, 3, 5, 5]));
  const optimizer = new torch.optim.SGD([...net.parameters()], { lr: LR, momentum: 0.9 });
  addClipping(optimizer, (o) => {
    for (const { params } of o.paramGroups) torch.optim.clipGradNorm_(params, MAX_NORM);
  });
  const trainer = new AMPTrainer(net, xs, optimizer, {
    device: 'cpu',
    dtype: { float16: torch.float16, bfloat16: torch.bfloat16 }[dtype],
    gradScaler,
  });
  const run: Run = { losses: [], scales: [], weights: [] };
  let step = 0;
  // Scaled gradients are what tensor hooks see.
  net.fc.bias?.registerHook((grad) => {
    const bad = dtype === 'float16' && BAD.includes(step++);
    return bad ? torch.full_like(grad, Number.POSITIVE_INFINITY) : undefined;
  });
  trainer.registerHooks([
    new hooks.CallbackHook({
      afterStep: ({ storage }) => {
        run.losses.push(storage.latest().get('total_loss')?.[0] as number);
        run.scales.push(gradScaler.getScale());
      },
    }),
  ]);
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: xs.length });
  run.weights = [...net.parameters()].map((p) => [...(p.flatten().toTypedArray() as Float32Array)]);
  return [run, net];
}

const skip = pythonTorch() ? false : pythonTorchMissing;
for (const dtype of ['float16', 'bfloat16'] as const) {
  test(`${dtype}: losses, scales and weights have the bits of the same loop in Python`, {
    skip,
  }, async () => {
    const given = { dtype, lr: LR, max_norm: MAX_NORM, bad: BAD };
    const expected = runPython<Run>(REFERENCE, given);
    const scaler = new torch.amp.GradScaler({ enabled: dtype === 'float16', growthInterval: 2 });
    const [found, net] = await ours(dtype, scaler);
    assert.deepEqual(found, expected);
    assert.deepEqual(new Set(net.seen), new Set([dtype]));
    if (dtype === 'float16') assert.equal(new Set(found.scales).size > 1, true);
  });
}

test('float16 scales its losses, bfloat16 does not; the default is the device’s', () => {
  const net = new Net();
  const optimizer = new torch.optim.SGD([...net.parameters()], { lr: 1 });
  const make = (dtype?: torch.DType) => new AMPTrainer(net, [], optimizer, { device: 'cpu', dtype });
  assert.equal(make().dtype, torch.bfloat16);
  assert.equal(make().gradScaler.enabled, false);
  assert.equal(make(torch.float16).gradScaler.enabled, true);
});

test('gradients that never become finite, and infinite losses, end the run with the weights as they were', async () => {
  const weight = new torch.nn.Parameter(torch.ones([1]));
  class One extends torch.nn.Module<[torch.Tensor], torch.Tensor> {
    readonly weight = weight;
    protected override forward(x: torch.Tensor): torch.Tensor {
      return x.mul(this.weight).sum();
    }
  }
  const optimizer = new torch.optim.SGD([weight], { lr: 1 });
  const options = { device: 'cpu', dtype: torch.float16 };
  const handle = weight.registerHook((grad) => torch.full_like(grad, Number.NaN));
  const broken = new AMPTrainer(new One(), [torch.ones([1])], optimizer, options);
  await assert.rejects(broken.trainLoop({ maxEpoch: 1, itersPerEpoch: 100 }), NonFiniteGradientError);
  assert.ok(broken.iter > 20);
  handle.remove();
  const infinite = new AMPTrainer(new One(), [torch.full([1], Number.NaN)], optimizer, options);
  await assert.rejects(infinite.trainLoop({ maxEpoch: 1, itersPerEpoch: 1 }), NonFiniteLossError);
  assert.equal(weight.item(), 1);
});

for (const dtype of ['bfloat16', 'float16']) {
  test(`SOLVER.AMP trains (${dtype}); weights stay float32, losses are computed in float32`, async () => {
    torch.manualSeed(3);
    const cfg = tinyConfig(join(folder, dtype), [
      ...['SOLVER.AMP.ENABLED', true, 'MODEL.HEADS.CLS_LAYER', 'ArcSoftmax', 'MODEL.HEADS.SCALE', 16],
      ...['MODEL.HEADS.MARGIN', 0.1, 'SOLVER.CLIP_GRADIENTS.ENABLED', true, 'SOLVER.AMP.DTYPE', dtype],
    ]);
    const trainer = new DefaultTrainer(cfg, { seed: 3 });
    const maps = new Set<string>();
    trainer.model.find('backbone')[0][1].registerForwardHook((module, _args, map) => {
      if (module.training) maps.add((map as torch.Tensor).dtype.name);
    });
    await trainer.train();
    await trainer.close();
    assert.deepEqual([...maps], [dtype]);
    for (const [key, parameter] of trainer.model.namedParameters()) {
      assert.equal(parameter.dtype, torch.float32, key);
      assert.ok(parameter.isfinite().all().item(), key);
    }
    const content = (await torch.load(join(folder, dtype, 'model_final.pth'))) as Map<string, unknown>;
    assert.equal(content.has('grad_scaler'), dtype === 'float16');
    if (dtype === 'float16') {
      const state = content.get('grad_scaler') as Map<string, unknown>;
      // Steps since the scale was last lowered, if it was.
      assert.ok(Number(state.get('_growth_tracker')) > 0);
      assert.ok(Number(state.get('scale')) <= 65536);
    }
    const losses = trainer.storage.histories().get('loss_triplet');
    assert.ok(losses);
    assert.ok(losses.entries().every(([value]) => Number.isFinite(value)));
  });
}

test('auto: the short type that is fast on the device, or float32', () => {
  const chosen = (...pairs: unknown[]): string | undefined =>
    ampDtype(tinyConfig('', ['SOLVER.AMP.ENABLED', true, ...pairs]))?.name;
  assert.equal(chosen('MODEL.DEVICE', 'cuda:0'), 'float16');
  assert.equal(chosen(), torch.cpuHasBfloat16() ? 'bfloat16' : undefined);
  assert.equal(chosen('SOLVER.AMP.DTYPE', 'bfloat16'), 'bfloat16');
  assert.equal(chosen('SOLVER.AMP.ENABLED', false), undefined);
});

test('a type that AMP does not know is refused', () => {
  const cfg = tinyConfig(join(folder, 'x'), ['SOLVER.AMP.ENABLED', true, 'SOLVER.AMP.DTYPE', 'float8']);
  assert.throws(() => new DefaultTrainer(cfg, { seed: 1 }), /SOLVER\.AMP\.DTYPE is 'float8'; it must be/);
});
