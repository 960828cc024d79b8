import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { fill } from '../support/fill.js';
import { goldenPath, pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { nn } = torch;
type Tensor = torch.Tensor;

interface Case {
  python: string;
  make: () => torch.nn.TensorModule;
  input: number[];
  /** Run twice in training mode, then once in evaluation mode. */
  state?: boolean;
}

// The same layers in both languages.
const cases: Case[] = [
  { python: 'nn.Linear(5, 3)', make: () => new nn.Linear(5, 3), input: [4, 5] },
  {
    python: 'nn.Linear(5, 3, bias=False)',
    make: () => new nn.Linear(5, 3, { bias: false }),
    input: [2, 4, 5],
  },
  { python: 'nn.Conv2d(3, 8, 3)', make: () => new nn.Conv2d(3, 8, 3), input: [2, 3, 7, 5] },
  {
    python: 'nn.Conv2d(4, 8, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2, bias=False)',
    make: () =>
      new nn.Conv2d(4, 8, [3, 2], { stride: 2, padding: [1, 0], dilation: [1, 2], groups: 2, bias: false }),
    input: [2, 4, 9, 8],
  },
  {
    python: "nn.Conv2d(3, 4, 3, padding='same')",
    make: () => new nn.Conv2d(3, 4, 3, { padding: 'same' }),
    input: [1, 3, 6, 6],
  },
  { python: 'nn.BatchNorm1d(6)', make: () => new nn.BatchNorm1d(6), input: [5, 6], state: true },
  {
    python: 'nn.BatchNorm1d(3, eps=1e-3, momentum=None)',
    make: () => new nn.BatchNorm1d(3, { eps: 1e-3, momentum: null }),
    input: [4, 3, 5],
    state: true,
  },
  { python: 'nn.BatchNorm2d(4)', make: () => new nn.BatchNorm2d(4), input: [3, 4, 5, 2], state: true },
  {
    python: 'nn.BatchNorm2d(4, momentum=0.01, affine=False)',
    make: () => new nn.BatchNorm2d(4, { momentum: 0.01, affine: false }),
    input: [3, 4, 5, 2],
    state: true,
  },
  {
    python: 'nn.BatchNorm2d(2, track_running_stats=False)',
    make: () => new nn.BatchNorm2d(2, { trackRunningStats: false }),
    input: [3, 2, 5, 2],
    state: true,
  },
  { python: 'nn.ReLU()', make: () => new nn.ReLU(), input: [3, 4] },
  { python: 'nn.ReLU(inplace=True)', make: () => new nn.ReLU({ inplace: true }), input: [3, 4] },
  ...[
    { python: 'nn.ReLU6()', make: () => new nn.ReLU6() },
    { python: 'nn.ReLU6(inplace=True)', make: () => new nn.ReLU6({ inplace: true }) },
    { python: 'nn.SiLU()', make: () => new nn.SiLU() },
    { python: 'nn.SiLU(inplace=True)', make: () => new nn.SiLU({ inplace: true }) },
    { python: 'nn.Mish()', make: () => new nn.Mish() },
    { python: 'nn.Hardsigmoid()', make: () => new nn.Hardsigmoid() },
    { python: 'nn.Hardswish(inplace=True)', make: () => new nn.Hardswish({ inplace: true }) },
    { python: 'nn.LeakyReLU(0.2)', make: () => new nn.LeakyReLU(0.2) },
    {
      python: 'nn.LeakyReLU(0.2, inplace=True)',
      make: () => new nn.LeakyReLU(0.2, { inplace: true }),
    },
    { python: 'nn.ELU(0.5)', make: () => new nn.ELU(0.5) },
    { python: 'nn.GELU()', make: () => new nn.GELU() },
    { python: "nn.GELU(approximate='tanh')", make: () => new nn.GELU({ approximate: 'tanh' }) },
    { python: 'nn.Sigmoid()', make: () => new nn.Sigmoid() },
    { python: 'nn.Tanh()', make: () => new nn.Tanh() },
    { python: 'nn.Softmax(dim=1)', make: () => new nn.Softmax(1) },
    { python: 'nn.Softplus(2.0)', make: () => new nn.Softplus(2) },
    { python: 'nn.PReLU()', make: () => new nn.PReLU() },
    { python: 'nn.PReLU(4)', make: () => new nn.PReLU(4) },
  ].map((activation) => ({ ...activation, input: [3, 4, 5] })),
  { python: 'nn.LayerNorm(5)', make: () => new nn.LayerNorm(5), input: [3, 4, 5] },
  {
    python: 'nn.LayerNorm((4, 5), eps=1e-6, bias=False)',
    make: () => new nn.LayerNorm([4, 5], { eps: 1e-6, bias: false }),
    input: [3, 4, 5],
  },
  {
    python: 'nn.LayerNorm(5, elementwise_affine=False)',
    make: () => new nn.LayerNorm(5, { elementwiseAffine: false }),
    input: [3, 5],
  },
  { python: 'nn.GroupNorm(2, 4)', make: () => new nn.GroupNorm(2, 4), input: [3, 4, 5, 2] },
  {
    python: 'nn.GroupNorm(4, 4, affine=False)',
    make: () => new nn.GroupNorm(4, 4, { affine: false }),
    input: [3, 4, 5, 2],
  },
  { python: 'nn.InstanceNorm2d(4)', make: () => new nn.InstanceNorm2d(4), input: [3, 4, 5, 2] },
  {
    python: 'nn.InstanceNorm2d(4, affine=True, track_running_stats=True)',
    make: () => new nn.InstanceNorm2d(4, { affine: true, trackRunningStats: true }),
    input: [3, 4, 5, 2],
    state: true,
  },
  { python: 'nn.InstanceNorm1d(4)', make: () => new nn.InstanceNorm1d(4), input: [3, 4, 5] },
  { python: 'nn.Identity()', make: () => new nn.Identity(), input: [3, 4] },
  { python: 'nn.Flatten()', make: () => new nn.Flatten(), input: [2, 3, 4] },
  { python: 'nn.Flatten(0, 1)', make: () => new nn.Flatten(0, 1), input: [2, 3, 4] },
  { python: 'nn.Dropout(0.3)', make: () => new nn.Dropout(0.3), input: [40, 10], state: true },
  { python: 'nn.Dropout()', make: () => new nn.Dropout(), input: [20, 4], state: true },
  {
    python: 'nn.MaxPool2d(3, stride=2, padding=1)',
    make: () => new nn.MaxPool2d(3, { stride: 2, padding: 1 }),
    input: [2, 3, 9, 7],
  },
  {
    python: 'nn.MaxPool2d((2, 3), ceil_mode=True)',
    make: () => new nn.MaxPool2d([2, 3], { ceilMode: true }),
    input: [2, 3, 9, 7],
  },
  {
    python: 'nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False)',
    make: () => new nn.AvgPool2d(2, { stride: 1, padding: 1, countIncludePad: false }),
    input: [2, 3, 6, 5],
  },
  {
    python: 'nn.AvgPool2d(2, ceil_mode=True, divisor_override=3)',
    make: () => new nn.AvgPool2d(2, { ceilMode: true, divisorOverride: 3 }),
    input: [2, 3, 7, 5],
  },
  { python: 'nn.AdaptiveAvgPool2d(1)', make: () => new nn.AdaptiveAvgPool2d(1), input: [2, 3, 7, 5] },
  {
    python: 'nn.AdaptiveAvgPool2d((None, 2))',
    make: () => new nn.AdaptiveAvgPool2d([null, 2]),
    input: [2, 3, 7, 5],
  },
  {
    python: 'nn.AdaptiveMaxPool2d((2, 3))',
    make: () => new nn.AdaptiveMaxPool2d([2, 3]),
    input: [2, 3, 7, 5],
  },
  {
    python: 'nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Flatten())',
    make: () =>
      new nn.Sequential(
        new nn.Conv2d(3, 4, 1),
        new nn.Sequential(new nn.BatchNorm2d(4), new nn.ReLU()),
        new nn.Flatten(),
      ),
    input: [2, 3, 4, 4],
    state: true,
  },
];

const PROGRAM = `
import json, sys, torch
from torch import nn
torch.set_num_threads(1)
def flat(t):
    return t.detach().double().reshape(-1).tolist()
def facts(case):
    torch.manual_seed(7)
    m = eval(case['python'])
    out = {'text': str(m), 'init': [[k, list(v.shape), flat(v)] for k, v in m.state_dict().items()]}
    x = torch.randn(case['input'])
    inner = x.clone().requires_grad_()
    y = m(inner * 1)
    y.square().sum().backward()
    out['y'] = flat(y); out['dx'] = flat(inner.grad); out['shape'] = list(y.shape)
    out['grads'] = [flat(p.grad) for p in m.parameters()]
    if case['state']:
        m(x * 2)
        m.eval()
        out['eval'] = flat(m(x))
        out['after'] = [flat(v) for v in m.state_dict().values()]
    return out
print(json.dumps([facts(c) for c in json.load(sys.stdin)]))
`;

interface Facts {
  text: string;
  init: [string, number[], number[]][];
  y: number[];
  dx: number[];
  shape: number[];
  grads: number[][];
  eval?: number[];
  after?: number[][];
}

const flat = (t: Tensor | null): number[] =>
  Array.from(t!.detach().contiguous().toTypedArray() as Float32Array, Number);

function facts({ make, input, state }: Case): Facts {
  torch.manualSeed(7);
  const m = make();
  const text = m.toString();
  const init = [...m.stateDict()].map(([k, v]): [string, number[], number[]] => [k, v.shape, flat(v)]);
  const x = torch.randn(input);
  const inner = x.clone().requiresGrad_();
  const y = m.call(inner.mul(1));
  y.square().sum().backward();
  const result: Facts = {
    text,
    init,
    y: flat(y),
    dx: flat(inner.grad),
    shape: y.shape,
    grads: [...m.parameters()].map((p) => flat(p.grad)),
  };
  if (state) {
    m.call(x.mul(2));
    m.eval();
    result.eval = flat(m.call(x));
    result.after = [...m.stateDict().values()].map(flat);
  }
  return result;
}

test('layers: text, initial weights, outputs, gradients, state equal to Python to the last bit', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const expected = runPython<Facts[]>(
    PROGRAM,
    cases.map(({ python, input, state = false }) => ({ python, input, state })),
  );
  const threads = torch.getNumThreads();
  torch.setNumThreads(1);
  cases.forEach((c, i) => {
    assert.deepEqual(facts(c), expected[i], c.python);
  });
  torch.setNumThreads(threads);
});

test('batch normalisation as in the reference', () => {
  const data = torch.loadSafetensors(goldenPath('layers.safetensors'));
  for (const mode of ['train', 'eval']) {
    const key = `norm_BN/${mode}`;
    const bn = new nn.BatchNorm2d(32).train(mode === 'train');
    torch.noGrad(() => {
      bn.weight!.copy_(fill('weight', [32], (v) => 1 + 0.25 * v));
      bn.bias!.copy_(fill('bias', [32], (v) => 0.1 * v));
      bn.running_mean!.copy_(fill('running_mean', [32], (v) => 0.1 * v));
      bn.running_var!.copy_(fill('running_var', [32], (v) => 1 + 0.5 * ((v + 1) / 2)));
    });
    const x = data.get(`${key}/x`)!.clone().requiresGrad_();
    const y = bn.call(x);
    y.mul(fill(`cot:${key}`, y.shape))
      .sum()
      .backward();
    const found: [string, Tensor][] = [
      ['y', y],
      ['dx', x.grad!],
      ['d:weight', bn.weight!.grad!],
      ['d:bias', bn.bias!.grad!],
      ['after:running_mean', bn.running_mean!],
      ['after:running_var', bn.running_var!],
    ];
    for (const [name, tensor] of found) {
      assertWithin(deviation(tensor, data.get(`${key}/${name}`)!), 1e-6, `${key}/${name}`);
    }
  }
});

test('initialisers draw as Python does', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const { init } = nn;
  const calls: [python: string, (w: Tensor) => Tensor][] = [
    ['init.normal_(w, 0.5, 2)', (w) => init.normal_(w, 0.5, 2)],
    ['init.uniform_(w, -1, 3)', (w) => init.uniform_(w, -1, 3)],
    ['init.constant_(w, 0.3)', (w) => init.constant_(w, 0.3)],
    ['init.kaiming_normal_(w)', (w) => init.kaimingNormal_(w)],
    [
      "init.kaiming_normal_(w, mode='fan_out', nonlinearity='relu')",
      (w) => init.kaimingNormal_(w, { mode: 'fan_out', nonlinearity: 'relu' }),
    ],
    [
      "init.kaiming_normal_(w, a=0, mode='fan_out')",
      (w) => init.kaimingNormal_(w, { a: 0, mode: 'fan_out' }),
    ],
    ['init.kaiming_uniform_(w, a=2)', (w) => init.kaimingUniform_(w, { a: 2 })],
    ['init.xavier_uniform_(w)', (w) => init.xavierUniform_(w)],
    [
      "init.xavier_normal_(w, init.calculate_gain('tanh'))",
      (w) => init.xavierNormal_(w, init.calculateGain('tanh')),
    ],
    ['init.trunc_normal_(w, std=.02)', (w) => init.truncNormal_(w, 0, 0.02)],
    ['init.trunc_normal_(w)', (w) => init.truncNormal_(w)],
    ['init.trunc_normal_(w, 0, 1, 1, 2)', (w) => init.truncNormal_(w, 0, 1, 1, 2)],
  ];
  const expected = runPython<number[][]>(
    `
import json, sys, torch
from torch.nn import init
def run(call):
    torch.manual_seed(3)
    w = torch.empty(6, 4, 3, 3)
    eval(call)
    return [*w.double().reshape(-1).tolist(), torch.rand(1).item()]
print(json.dumps([run(call) for call in json.load(sys.stdin)]))
`,
    calls.map(([python]) => python),
  );
  calls.forEach(([python, call], i) => {
    torch.manualSeed(3);
    const w = call(torch.empty([6, 4, 3, 3]));
    // The number after shows that as many were drawn.
    assert.deepEqual([...flat(w), torch.rand([1]).item()], expected[i], python);
  });
  const generator = new torch.Generator('cpu');
  const drawn = [0, 1].map(() => {
    generator.manualSeed(11);
    return flat(init.kaimingNormal_(torch.empty([3, 2]), { generator }));
  });
  assert.deepEqual(drawn[0], drawn[1]);
  assert.throws(() => init.kaimingNormal_(torch.empty([3])), /2 dimensions or more/);
});

test('printing nests, folds equal neighbours of a list, and follows PyTorch', (t) => {
  class Net extends nn.Module {
    conv = new nn.Conv2d(3, 4, 3);
    blocks = new nn.ModuleList([new nn.ReLU(), new nn.ReLU(), new nn.ReLU({ inplace: true })]);
    empty = new nn.Sequential();
    heads = new nn.ModuleDict({ a: new nn.Linear(4, 2) });
    protected forward(x: Tensor): Tensor {
      return x;
    }
  }
  const text = new Net().toString();
  assert.equal(
    text,
    `Net(
  (conv): Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
  (blocks): ModuleList(
    (0-1): 2 x ReLU()
    (2): ReLU(inplace=True)
  )
  (empty): Sequential()
  (heads): ModuleDict(
    (a): Linear(in_features=4, out_features=2, bias=True)
  )
)`,
  );
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const python = runPython<string>(
    `
import json, torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.blocks = nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.ReLU(inplace=True)])
        self.empty = nn.Sequential()
        self.heads = nn.ModuleDict({'a': nn.Linear(4, 2)})
print(json.dumps(str(Net())))
`,
    null,
  );
  assert.equal(text, python);
});

test('wrong uses say what is wrong', () => {
  assert.throws(
    () => new nn.Conv2d(3, 4, 3, { groups: 2 }),
    /inChannels \(3\) must be divisible by groups \(2\)/,
  );
  assert.throws(
    () => new nn.Conv2d(3, 4, 3, { padding: 'same', stride: 2 }),
    /'same' is not possible with a stride/,
  );
  assert.throws(() => new nn.Dropout(1.5), /between 0 and 1/);
  assert.throws(
    () => new nn.BatchNorm2d(3).call(torch.ones([2, 3])),
    /BatchNorm2d: expected 4D input \(got 2D input\)/,
  );
  assert.throws(() => new nn.BatchNorm1d(3).call(torch.ones([1, 3])), /more than 1 value per channel/);
  assert.throws(() => new nn.Linear(3, 2).call(torch.ones([2, 4])), /linear|mat/i);
});
