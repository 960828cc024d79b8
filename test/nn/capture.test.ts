import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { nn } = torch;
type Tensor = torch.Tensor;
torch.setNumThreads(1);

/** A residual block with an in-place activation behind a hooked module, and a layer that is used twice. */
class Net extends nn.Module {
  readonly conv = new nn.Conv2d(2, 3, 3, { padding: 1 });
  readonly bn = new nn.BatchNorm2d(3);
  readonly relu = new nn.ReLU({ inplace: true });
  readonly mix = new nn.Conv2d(3, 3, 1);
  readonly shared = new nn.Linear(3, 3);

  protected override forward(x: Tensor): Tensor {
    const y = this.relu.call(this.bn.call(this.conv.call(x)));
    const z = this.mix.call(y).add(y).mean([2, 3]);
    return this.shared.call(this.shared.call(z).tanh());
  }
}

function netAndImages(): [Net, Tensor] {
  torch.manualSeed(3);
  const net = new Net();
  return [
    net,
    torch
      .linspace(-1, 1, 2 * 2 * 3 * 3)
      .view([2, 2, 3, 3])
      .sin(),
  ];
}

const PROGRAM = `
import json, sys, torch
from torch import nn
autocast = json.load(sys.stdin)
torch.set_num_threads(1)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(3, 3, 1)
        self.shared = nn.Linear(3, 3)
    def forward(self, x):
        y = self.relu(self.bn(self.conv(x)))
        z = (self.mix(y) + y).mean([2, 3])
        return self.shared(self.shared(z).tanh())
torch.manual_seed(3)
net = Net()
x = torch.linspace(-1, 1, 36).view(2, 2, 3, 3).sin()
seen = []
def put(name, value):
    seen.append([name, value.detach().flatten().tolist(), str(value.dtype)])
calls = {}
def watch(name, m):
    def before(m, args):
        calls[name] = calls.get(name, -1) + 1
        put(f'{name}/input/{calls[name]}', args[0])
        if name == 'relu':
            args[0].register_hook(lambda g: put(f'{name}/gradInput/0', g))
    def after(m, args, out):
        put(f'{name}/output/{calls[name]}', out)
        call = calls[name]
        out.register_hook(lambda g: put(f'{name}/gradOutput/{call}', g))
    m.register_forward_pre_hook(before)
    m.register_forward_hook(after)
for name in ['conv', 'bn', 'relu', 'mix', 'shared']:
    watch(name, getattr(net, name))
back = {'shared': 2}
def full(name, m):
    def hook(m, gi, go):
        back[name] = back.get(name, 1) - 1
        if gi[0] is not None:
            put(f'{name}/gradInput/{back[name]}', gi[0])
    m.register_full_backward_hook(hook)
# Where no in-place operator follows, the gradients of the inputs are those of full backward hooks.
full('mix', net.mix)
full('shared', net.shared)
net.bn.weight.register_hook(lambda g: put('bn/gradParameters weight/0', g))
net.shared.weight.register_hook(lambda g: put('shared/gradParameters weight/0', g))
with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
    out = net(x)
out.square().sum().backward()
print(json.dumps(seen))
`;

const flat = (x: Tensor): number[] => x.reshape([-1]).tolist() as number[];

/** Compares all that is captured with what Python's hooks see; returns it with the types of the values. */
function compareWithPython(autocast: boolean): { name: string; dtype: string }[] {
  const expected = runPython<[string, number[], string][]>(PROGRAM, autocast);
  const [net, x] = netAndImages();
  using capture = new nn.Capture(net, { layers: '*', what: nn.CAPTURE_KINDS });
  assert.deepEqual(capture.layers, ['conv', 'bn', 'relu', 'mix', 'shared']);
  capture.attach();
  const out = torch.autocast('cpu', { dtype: torch.bfloat16, enabled: autocast }, () => net.call(x));
  out.square().sum().backward();
  const seen = capture.take().map(({ layer, what, part, call, value }) => {
    const place = what === 'gradParameters' ? ` ${part}` : '';
    return [`${layer}/${what}${place}/${call}`, flat(value), String(value.dtype)] as const;
  });
  const compare = (wanted: (name: string) => boolean, ordered: boolean): void => {
    const [here, there] = [seen, expected].map((list) => list.filter(([name]) => wanted(name)));
    if (ordered) {
      assert.deepEqual(
        here!.map(([name]) => name),
        there!.map(([name]) => name),
      );
    }
    const ours = new Map(here!.map(([name, ...rest]) => [name, rest]));
    assert.ok(there!.length > 4);
    for (const [name, values, dtype] of there!) {
      assert.ok(ours.has(name), `${name} was not captured`);
      const [mine, type] = ours.get(name)!;
      assert.equal(type, dtype, name);
      values.forEach((value, i) => {
        assert.ok(
          Math.abs(value - mine[i]!) <= 1e-6 * (1 + Math.abs(value)),
          `${name}[${i}]: ${mine[i]} for ${value}`,
        );
      });
    }
  };
  compare((name) => /\/(input|output)\//.test(name), true);
  compare((name) => /\/gradOutput\//.test(name), true);
  compare((name) => /\/grad(Input|Parameters)/.test(name), false);
  // The image needs no gradient; the first convolution's other neighbours have one.
  assert.ok(!seen.some(([name]) => name.startsWith('conv/gradInput')));
  assert.ok(seen.some(([name]) => name.startsWith('bn/gradInput')));
  return seen.map(([name, , dtype]) => ({ name, dtype }));
}

test('inputs, outputs and gradients are what the hooks of PyTorch see, in the same order', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  compareWithPython(false);
});

test('under autocast too, in the types of PyTorch', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const seen = compareWithPython(true);
  const typeOf = (wanted: string): string => seen.find(({ name }) => name === wanted)!.dtype;
  assert.equal(typeOf('mix/output/0'), 'torch.bfloat16');
  assert.equal(typeOf('mix/gradOutput/0'), 'torch.bfloat16');
  assert.equal(typeOf('shared/gradParameters weight/0'), 'torch.float32');
});

test('nothing of the computation changes, and nothing is seen once it is detached', () => {
  const gradients = (watch: boolean): number[][] => {
    const [net, x] = netAndImages();
    const capture = new nn.Capture(net, { layers: '**', what: nn.CAPTURE_KINDS, reduce: nn.REDUCTIONS });
    if (watch) capture.attach();
    const loss = net.call(x).square().sum();
    loss.backward();
    if (watch) assert.ok(capture.take().length > 100);
    capture.detach();
    const result = [...net.parameters()].map((parameter) => flat(parameter.grad!));
    net.call(x).square().sum().backward();
    assert.deepEqual(capture.take(), []);
    return [...result, flat(loss)];
  };
  assert.deepEqual(gradients(true), gradients(false));
});

test('hooks left in a graph are silent after detach, and not mixed up with a later attachment', () => {
  const [net, x] = netAndImages();
  const capture = new nn.Capture(net, { layers: 'mix', what: ['gradInput', 'gradOutput', 'gradParameters'] });
  capture.attach();
  const first = net.call(x).sum();
  capture.detach();
  first.backward(null, { retainGraph: true });
  assert.deepEqual(capture.take(), []);
  capture.attach();
  capture.attach();
  first.backward();
  // The gradients of parameters belong to no call.
  assert.deepEqual(capture.take().map(nn.captureName), [
    'mix/gradParameters.weight/full',
    'mix/gradParameters.bias/full',
  ]);
  net.call(x).sum().backward();
  assert.equal(capture.take().filter(({ what }) => what !== 'gradParameters').length, 2);
});

test('reductions', () => {
  const x = torch.tensor([
    [[[1, 2]], [[3, 6]]],
    [[[-1, 2]], [[0, -3]]],
  ]);
  const value = (reduction: torch.nn.Reduction, of = x) => nn.reduce(of, reduction).tolist();
  assert.equal(value('mean'), 1.25);
  assert.ok(Math.abs((value('std') as number) - Math.sqrt(64 / 8 - 1.25 ** 2)) < 1e-6);
  assert.equal(value('norm'), 8);
  assert.deepEqual(value('channelMean'), [1, 1.5]);
  assert.deepEqual(value('channelMean', x.view([2, 4])), [0, 2, 1.5, 1.5]);
  assert.deepEqual(value('channelMean', x.view([2, 2, 2])), [0.75, 1.75]);
  assert.deepEqual(value('channelMean', torch.tensor([1, 2])), [1, 2]);
  assert.equal(torch.readHistogram(nn.reduce(x, 'histogram')).count, 8);
  assert.equal(value('mean', torch.tensor([1n, 2n])), 1.5);
  const copy = nn.reduce(x, 'full');
  x.zero_();
  assert.equal(copy.sum().item(), 10);
  // Sums in half precision would end at 65504.
  assert.equal(nn.reduce(torch.full([70_000], 2, { dtype: torch.float16 }), 'mean').item(), 2);
});

test('results that are arrays or objects, arguments that are no tensors, no gradient mode', () => {
  class Head extends nn.Module<[Tensor, boolean], Record<string, unknown>> {
    protected override forward(x: Tensor, double: boolean): Record<string, unknown> {
      return { features: x.mul(double ? 2 : 1), name: 'head', pair: x };
    }
  }
  const head = new Head();
  using capture = new nn.Capture(head, { layers: '', what: nn.CAPTURE_KINDS, reduce: 'mean' });
  capture.attach();
  const x = torch.ones([2]).requiresGrad_();
  torch.noGrad(() => head.call(x, true));
  assert.deepEqual(capture.take().map(nn.captureName), [
    '(model)/input/mean',
    '(model)/output.features/mean',
    '(model)/output.pair/mean',
  ]);
});

test('memory: captured values live until they are taken and released, and nothing else does', async () => {
  // What earlier tests left is collected first: it must not go while the tensors are counted.
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  for (let i = 0; i < 4; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const [net, x] = netAndImages();
  const run = (): void => torch.scope(() => net.call(x).sum().backward());
  run();
  net.zeroGrad();
  const before = torch.liveTensors().length;
  {
    using capture = new nn.Capture(net, { layers: '*', what: nn.CAPTURE_KINDS });
    capture.attach();
    run();
    net.zeroGrad();
    assert.ok(torch.liveTensors().length >= before + 20);
  }
  assert.equal(torch.liveTensors().length, before);
});

test('mistakes are named', () => {
  const [net] = netAndImages();
  const make = (options: object) => () => new nn.Capture(net, options as torch.nn.CaptureOptions);
  assert.throws(make({ layers: 'layer4' }), /no sub-module 'layer4'; it has: conv, bn/);
  assert.throws(
    make({ layers: 'layer4.*' }),
    /no module of Net matches 'layer4\.\*'; at its top are: conv, bn/,
  );
  const outer = new nn.Sequential(net, new nn.Sequential(new nn.Flatten()));
  const within = (layers: string) => () => new nn.Capture(outer, { layers });
  assert.throws(within('0.cnv*'), /no module of Sequential matches '0\.cnv\*'; '0' has: conv, bn, relu/);
  assert.throws(within('1.*.conv.?'), /matches '1\.\*\.conv\.\?'; '1\.0' has: none/);
  assert.throws(within('*.cnv?.x'), /matches '\*\.cnv\?\.x'; '0' has: conv, bn, relu/);
  assert.throws(make({ layers: [] }), /no layers were named/);
  assert.throws(make({ layers: 'conv', what: 'grad' }), /what 'grad'; there are: input, output/);
  assert.throws(make({ layers: 'conv', reduce: 'sum' }), /reduce 'sum'; there are: full, mean/);
  assert.throws(make({ layers: 'conv', what: [] }), /what is empty/);
});
