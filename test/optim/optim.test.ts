import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { goldenPath, pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { nn, optim } = torch;
type Tensor = torch.Tensor;
type Options = Record<string, unknown>;

const flat = (t: Tensor): number[] =>
  Array.from(t.detach().contiguous().toTypedArray() as Float32Array, Number);

function make(kind: string, params: torch.optim.Params, o: Options): torch.optim.Optimizer {
  const options = {
    lr: o.lr as number,
    weightDecay: o.weight_decay as number | undefined,
    fused: o.fused as boolean | undefined,
    maximize: o.maximize as boolean | undefined,
  };
  if (kind === 'SGD') {
    return new optim.SGD(params, {
      ...options,
      momentum: o.momentum as number | undefined,
      dampening: o.dampening as number | undefined,
      nesterov: o.nesterov as boolean | undefined,
    });
  }
  const more = { ...options, amsgrad: o.amsgrad as boolean | undefined, eps: o.eps as number | undefined };
  return kind === 'AdamW' ? new optim.AdamW(params, more) : new optim.Adam(params, more);
}

test('20 steps as the reference took them', () => {
  const settings = JSON.parse(readFileSync(goldenPath('optim.json'), 'utf8')) as Record<string, Options>;
  const data = torch.loadSafetensors(goldenPath('optim.safetensors'));
  const a = data.get('A')!;
  const kinds: Record<string, string> = {
    sgd: 'SGD',
    sgd_momentum_wd: 'SGD',
    sgd_nesterov: 'SGD',
    adam: 'Adam',
    adam_wd: 'Adam',
    adam_amsgrad: 'Adam',
    adamw: 'AdamW',
    clip_norm: 'SGD',
    clip_value: 'SGD',
  };
  for (const [key, kind] of Object.entries(kinds)) {
    const { clip, ...options } = settings[key]!;
    for (const fused of [null, false]) {
      const w = new nn.Parameter(data.get('w0')!.clone());
      const optimizer = make(kind, [w], { ...options, fused });
      for (const [step, expected] of data.get(key)!.unbind(0).entries()) {
        optimizer.zeroGrad();
        a.mv(w).pow(2).sum().mul(0.5).add(w.mul(3).sin().sum()).backward();
        if (clip) {
          const [how, limit] = clip as [string, number];
          if (how === 'norm') optim.clipEachGradNorm_(w, limit);
          else optim.clipGradValue_(w, limit);
        }
        optimizer.step();
        assertWithin(deviation(w, expected), 1e-5, `${key}, fused ${fused}, step ${step}`);
      }
    }
  }
});

interface Run {
  kind: string;
  options: Options;
  /** One group a parameter, with a learning rate of its own. */
  split?: boolean;
  /** Every third step, the second parameter has no gradient. */
  gaps?: boolean;
}

const runs: Run[] = [
  { kind: 'SGD', options: { lr: 0.1 } },
  { kind: 'SGD', options: { lr: 0.1, momentum: 0.9, weight_decay: 0.01 }, split: true },
  { kind: 'SGD', options: { lr: 0.1, momentum: 0.9, dampening: 0.5, maximize: true } },
  { kind: 'SGD', options: { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.1 } },
  { kind: 'Adam', options: { lr: 0.01 }, split: true, gaps: true },
  { kind: 'Adam', options: { lr: 0.01, weight_decay: 0.1, amsgrad: true, eps: 1e-4 } },
  { kind: 'Adam', options: { lr: 0.01, maximize: true } },
  { kind: 'AdamW', options: { lr: 0.01, weight_decay: 0.1 }, split: true },
  { kind: 'AdamW', options: { lr: 0.01, amsgrad: true } },
];

const PROGRAM = `
import json, sys, torch
from torch import nn
torch.set_num_threads(1)
def flat(t):
    return t.detach().double().reshape(-1).tolist()
def gradient(p, step):
    i = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
    return ((i * 7 + step * 3) % 11 / 11 - 0.5).float()
def run(r, fused):
    options = dict(r['options'], fused=fused)
    shapes = [(3, 4), (5,), (2, 3, 2)]
    ps = [nn.Parameter(torch.arange(torch.Size(s).numel()).float().reshape(s) / 10) for s in shapes]
    groups = [{'params': [p], 'lr': options['lr'] * (i + 1)} for i, p in enumerate(ps)] if r.get('split') else ps
    o = getattr(torch.optim, r['kind'])(groups, **options)
    for step in range(12):
        o.zero_grad()
        for i, p in enumerate(ps):
            if not (r.get('gaps') and i == 1 and step % 3 == 2):
                p.grad = gradient(p, step)
        if step == 6:
            for g in o.param_groups:
                g['lr'] *= 0.5
        o.step()
    sd = o.state_dict()
    state = {k: {n: flat(t) for n, t in e.items()} for k, e in sd['state'].items()}
    return {'params': [flat(p) for p in ps], 'state': state, 'groups': sd['param_groups']}
print(json.dumps([[run(r, None), run(r, True)] for r in json.load(sys.stdin)]))
`;

interface Outcome {
  params: number[][];
  state: Record<string, Record<string, number[]>>;
  groups: Options[];
}

function gradient(p: Tensor, step: number): Tensor {
  const i = torch.arange(p.numel(), { dtype: torch.float64 }).reshape(p.shape);
  return i
    .mul(7)
    .add(step * 3)
    .remainder(11)
    .div(11)
    .sub(0.5)
    .float();
}

function run({ kind, options, split, gaps }: Run, fused: boolean | null): Outcome {
  const shapes = [[3, 4], [5], [2, 3, 2]];
  const ps = shapes.map(
    (s) =>
      new nn.Parameter(
        torch
          .arange(s.reduce((a, b) => a * b))
          .float()
          .reshape(s)
          .div(10),
      ),
  );
  const groups = ps.map((p, i) => ({ params: [p], lr: (options.lr as number) * (i + 1) }));
  const optimizer = make(kind, split ? groups : ps, { ...options, fused });
  for (let step = 0; step < 12; step++) {
    optimizer.zeroGrad();
    ps.forEach((p, i) => {
      if (!(gaps && i === 1 && step % 3 === 2)) p.grad = gradient(p, step);
    });
    if (step === 6) for (const g of optimizer.paramGroups) g.lr *= 0.5;
    optimizer.step();
  }
  const { state, param_groups } = optimizer.stateDict();
  return {
    params: ps.map(flat),
    state: Object.fromEntries(
      [...state].map(([k, entry]) => [
        String(k),
        Object.fromEntries(Object.entries(entry).map(([name, t]) => [name, flat(t as Tensor)])),
      ]),
    ),
    groups: param_groups,
  };
}

/** Groups as JSON shows them: tuples as arrays. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

test('steps, state and groups equal to Python, fused and not, to the last bit', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const expected = runPython<[Outcome, Outcome][]>(PROGRAM, runs);
  runs.forEach((r, i) => {
    const [single, fused] = expected[i]!;
    const what = JSON.stringify(r);
    const ours = run(r, null);
    assert.deepEqual(ours.params, fused.params, `${what} fused`);
    assert.deepEqual(ours.state, fused.state, `${what} fused`);
    // The groups are those of PyTorch's default, key by key in the same order.
    assert.equal(JSON.stringify(ours.groups), JSON.stringify(single.groups), what);
    const apart = run(r, false);
    assert.deepEqual(apart.params, single.params, `${what} single`);
    assert.deepEqual(apart.state, single.state, `${what} single`);
  });
});

test('one group a parameter is stepped in as many calls as there are different settings', () => {
  const ps = Array.from({ length: 40 }, () => new nn.Parameter(torch.ones([2])));
  const calls: number[] = [];
  class Counting extends optim.Adam {
    protected override update(
      group: torch.optim.AdamGroup,
      params: Tensor[],
      grads: Tensor[],
      bucket: torch.optim.Bucket<torch.optim.AdamGroup> | null,
    ): void {
      calls.push(params.length);
      super.update(group, params, grads, bucket);
    }
  }
  const groups = ps.map((p, i) => ({ params: [p], lr: 0.1, weight_decay: i % 2 === 0 ? 0 : 0.1 }));
  const optimizer = new Counting(groups);
  const step = (): number[] => {
    calls.length = 0;
    for (const p of ps) p.grad = torch.ones([2]);
    optimizer.step();
    return [...calls];
  };
  assert.deepEqual(step(), [20, 20]);
  for (const g of optimizer.paramGroups) g.lr = 0.05;
  assert.deepEqual(step(), [20, 20]);
  optimizer.paramGroups[0]!.lr = 1;
  assert.deepEqual(step(), [1, 20, 19]);
  const late = new nn.Parameter(torch.ones([2]));
  optimizer.addParamGroup({ params: late });
  ps.push(late);
  assert.deepEqual(step(), [1, 20, 19, 1]);
  late.grad = null;
  ps.pop();
  assert.deepEqual(step(), [1, 20, 19]);
});

test('memory layouts: a gradient or state that lies otherwise is laid out anew', () => {
  const start = torch.randn([2, 3, 4, 5]);
  const gradient = torch.randn([2, 3, 4, 5]);
  for (const kind of ['SGD', 'Adam']) {
    const results = [false, true].map((odd) => {
      const p = new nn.Parameter(start.clone());
      const optimizer = make(kind, [p], { lr: 0.1, momentum: 0.9 });
      for (let i = 0; i < 4; i++) {
        p.grad =
          odd && i % 2 === 0 ? gradient.contiguous({ memory_format: 'channels_last' }) : gradient.clone();
        if (odd && i === 2) p.setData(p.detach().contiguous({ memory_format: 'channels_last' }));
        optimizer.step();
      }
      return flat(p);
    });
    assert.deepEqual(results[1], results[0], kind);
    // A parameter with gaps between its elements.
    const wide = torch.zeros([4, 6]);
    const p = new nn.Parameter(wide.narrow(1, 0, 3));
    p.grad = torch.ones([4, 3]);
    make(kind, [p], { lr: 0.1 }).step();
    assert.equal(Number(wide.narrow(1, 3, 3).abs().sum().item()), 0);
    assert.ok(Math.abs(Number(p.mean().item()) + 0.1) < 1e-6);
  }
});

test('state dicts: continue where another optimizer stopped', () => {
  const target = torch.randn([3, 3]);
  const trained = (steps: number, w: torch.nn.Parameter, optimizer: torch.optim.Optimizer): void => {
    for (let i = 0; i < steps; i++) {
      optimizer.zeroGrad();
      w.sub(target).square().sum().backward();
      optimizer.step();
    }
  };
  for (const [kind, options] of [
    ['Adam', { lr: 0.1, amsgrad: true }],
    ['AdamW', { lr: 0.1 }],
    ['SGD', { lr: 0.1, momentum: 0.9 }],
  ] as const) {
    const w = new nn.Parameter(torch.zeros([3, 3]));
    const optimizer = make(kind, [w], options);
    trained(3, w, optimizer);
    const resumed = new nn.Parameter(w.detach().clone());
    const other = make(kind, [resumed], { lr: 5 });
    other.loadStateDict(optimizer.stateDict());
    trained(3, w, optimizer);
    trained(3, resumed, other);
    assert.deepEqual(flat(resumed), flat(w), kind);
    assert.deepEqual(plain(other.stateDict().param_groups), plain(optimizer.stateDict().param_groups));
  }
});

test('state dicts travel to Python and back in .pth files', async (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-optim-'));
  try {
    for (const [kind, options] of [
      ['Adam', { lr: 0.01, amsgrad: true, weight_decay: 0.1 }],
      ['AdamW', { lr: 0.01 }],
      ['SGD', { lr: 0.01, momentum: 0.9 }],
    ] as const) {
      const ps = [new nn.Parameter(torch.ones([2, 3])), new nn.Parameter(torch.ones([4]))];
      const groups = (): torch.optim.ParamGroupInit[] =>
        ps.map((p, i) => ({ params: [p], lr: 0.01 * (i + 1), tag: 'x' }));
      const optimizer = make(kind, groups(), options);
      const steps = (count: number): void => {
        for (let i = 0; i < count; i++) {
          for (const p of ps) p.grad = gradient(p, i);
          optimizer.step();
        }
      };
      steps(2);
      const sent = join(folder, 'sent.pth');
      const returned = join(folder, 'returned.pth');
      await torch.save({ optimizer: optimizer.stateDict(), params: ps.map((p) => p.detach()) }, sent);
      // Python loads it, takes two steps with its fused kernels, and saves.
      const keys = runPython<string[]>(
        `
import json, sys, torch
sent, returned, kind = json.load(sys.stdin)
d = torch.load(sent, weights_only=True)
ps = [torch.nn.Parameter(p) for p in d['params']]
o = getattr(torch.optim, kind)([{'params': [p]} for p in ps], fused=True)
o.load_state_dict(d['optimizer'])
for g in o.param_groups:
    g['fused'] = True
for i in range(2):
    for p in ps:
        n = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
        p.grad = ((n * 7 + i * 3) % 11 / 11 - 0.5).float()
    o.step()
torch.save({'optimizer': o.state_dict(), 'params': [p.detach() for p in ps]}, returned)
print(json.dumps(sorted(o.state[ps[0]].keys())))
`,
        [sent, returned, kind],
      );
      assert.ok(keys.length > 0);
      steps(2);
      const back = (await torch.load(returned)) as Map<string, unknown>;
      (back.get('params') as Tensor[]).forEach((p, i) => {
        assert.deepEqual(flat(p), flat(ps[i]!), kind);
      });
      const before = optimizer.stateDict();
      const fresh = make(kind, groups(), { lr: 1 });
      fresh.loadStateDict(back.get('optimizer'));
      const after = fresh.stateDict();
      for (const [number, entry] of before.state) {
        for (const [name, value] of Object.entries(entry)) {
          assert.deepEqual(
            flat(after.state.get(number)![name] as Tensor),
            flat(value as Tensor),
            `${kind} ${name}`,
          );
        }
      }
      assert.deepEqual(
        after.param_groups.map((g) => [g.lr, g.tag, g.params]),
        before.param_groups.map((g) => [g.lr, g.tag, g.params]),
      );
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('state dicts of older PyTorch: numbers for steps, missing keys', () => {
  const p = new nn.Parameter(torch.ones([2]));
  const optimizer = new optim.AdamW([p]);
  optimizer.loadStateDict({
    state: new Map([
      [0, { step: 7, exp_avg: torch.ones([2], { dtype: torch.float64 }), exp_avg_sq: torch.ones([2]) }],
    ]),
    param_groups: [{ lr: 0.5, betas: [0.8, 0.9], eps: 1e-8, weight_decay: 0, amsgrad: false, params: [0] }],
  });
  const entry = optimizer.state.get(p)!;
  assert.equal((entry.step as Tensor).item(), 7);
  assert.equal((entry.step as Tensor).dtype, torch.float32);
  assert.equal((entry.exp_avg as Tensor).dtype, torch.float32);
  assert.equal(optimizer.paramGroups[0]!.maximize, false);
  assert.equal(optimizer.paramGroups[0]!.decoupled_weight_decay, true);
  p.grad = torch.ones([2]);
  optimizer.step();
  assert.equal((entry.step as Tensor).item(), 8);
});

test('the optimizer of a checkpoint that FastReID wrote', () => {
  const checkpoint = torch.loadSync(goldenPath('osnet_x0_25_filled.pth')) as Map<string, unknown>;
  const p = new nn.Parameter(torch.ones([2]));
  const optimizer = new optim.Adam([p], { lr: 1 });
  optimizer.loadStateDict(checkpoint.get('optimizer'));
  const { params, ...group } = optimizer.paramGroups[0]!;
  assert.deepEqual(params, [p]);
  assert.deepEqual(plain(group), {
    freeze_status: 'normal',
    lr: 0.0003,
    weight_decay: 0.0005,
    betas: [0.9, 0.999],
    eps: 1e-8,
    amsgrad: false,
    maximize: false,
    foreach: null,
    capturable: false,
    differentiable: false,
    fused: null,
    decoupled_weight_decay: false,
  });
  p.grad = torch.ones([2]);
  optimizer.step();
});

test('a state dict that does not fit changes nothing', () => {
  const p = new nn.Parameter(torch.ones([2]));
  const optimizer = new optim.Adam([p]);
  const good = { lr: 9, params: [0] };
  const load = (state: unknown): void => optimizer.loadStateDict(state);
  assert.throws(
    () => load({ state: {}, param_groups: [good, good] }),
    /has 2 parameter groups, the optimizer 1/,
  );
  assert.throws(() => load({ state: {}, param_groups: [{ params: [0, 1] }] }), /group 0 has 2 parameters/);
  assert.throws(() => load({ state: {} }), /'param_groups' is missing/);
  assert.throws(() => load(3), /expected a map or an object/);
  assert.throws(
    () => load({ state: { 0: { exp_avg: torch.ones([3]) } }, param_groups: [good] }),
    /state of parameter 0: 'exp_avg' has shape \[3\], not \[2\] as for a parameter of \[2\]/,
  );
  assert.equal(optimizer.paramGroups[0]!.lr, 1e-3);
});

test('parameters without a gradient are left alone; a closure gives its loss', () => {
  const [a, b] = [new nn.Parameter(torch.ones([2])), new nn.Parameter(torch.ones([2]))];
  const optimizer = new optim.Adam([a, b], { lr: 0.1 });
  const loss = torch.noGrad(() =>
    optimizer.step(() => {
      const value = a.square().sum();
      value.backward();
      return value;
    }),
  );
  assert.equal(loss.item(), 2);
  assert.deepEqual(flat(b), [1, 1]);
  assert.notDeepEqual(flat(a), [1, 1]);
  assert.equal(optimizer.state.has(b), false);
  optimizer.zeroGrad();
  assert.equal(a.grad, null);
  optimizer.step();
});

test('named parameters keep their names', () => {
  const net = new nn.Linear(2, 2);
  const optimizer = new optim.SGD(net.namedParameters());
  assert.deepEqual(optimizer.stateDict().param_groups[0]!.param_names, ['weight', 'bias']);
});

test('wrong uses say what is wrong', () => {
  const p = new nn.Parameter(torch.ones([2]));
  assert.throws(() => new optim.Adam([]), /Adam got an empty parameter list/);
  assert.throws(() => new optim.Adam([p], { lr: -1 }), /Adam: invalid lr: -1/);
  assert.throws(() => new optim.AdamW([p], { betas: [0.9, 1] }), /AdamW: invalid betas\[1\]: 1/);
  assert.throws(() => new optim.SGD([p], { nesterov: true }), /Nesterov momentum requires/);
  assert.throws(() => new optim.SGD([p, p]), /appears more than once/);
  assert.throws(() => new optim.SGD([p.mul(2)]), /not a leaf/);
  assert.throws(() => new optim.SGD(p as never), /must be a list/);
  assert.throws(() => new optim.SGD([3 as never]), /SGD: a parameter group is an object/);
  const table = new nn.Parameter(torch.ones([5, 2]));
  torch
    .embedding(table, torch.tensor([1n, 2n]), -1, false, true)
    .sum()
    .backward();
  for (const fused of [null, false]) {
    assert.throws(() => new optim.Adam([table], { fused }).step(), /a gradient is sparse/);
    assert.throws(() => new optim.SGD([table], { fused }).step(), /a gradient is sparse/);
  }
});

test('clipping equals Python', (t) => {
  const shapes = [[3, 2], [4], [1, 2, 2]];
  const make = (): torch.nn.Parameter[] =>
    shapes.map((shape, i) => {
      const p = new nn.Parameter(torch.zeros(shape));
      p.grad = gradient(p, i).mul(10);
      return p;
    });
  const without = new nn.Parameter(torch.ones([2]));
  assert.equal(optim.clipGradNorm_([without], 1).item(), 0);
  const broken = make();
  broken[0]!.grad = torch.full([3, 2], Number.NaN);
  assert.throws(() => optim.clipGradNorm_(broken, 1, { errorIfNonfinite: true }), /total norm/);
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const kinds: [string, (ps: Tensor[]) => Tensor | undefined][] = [
    ['u.clip_grad_norm_(ps, 2.0)', (ps) => optim.clipGradNorm_(ps, 2)],
    ['u.clip_grad_norm_(ps, 2.0, 1)', (ps) => optim.clipGradNorm_(ps, 2, { normType: 1 })],
    [
      "u.clip_grad_norm_(ps, 2.0, float('inf'))",
      (ps) => optim.clipGradNorm_(ps, 2, { normType: Number.POSITIVE_INFINITY }),
    ],
    ['u.clip_grad_norm_(ps, 1000.0)', (ps) => optim.clipGradNorm_(ps, 1000)],
    ['u.clip_grad_value_(ps, 1.5)', (ps) => void optim.clipGradValue_(ps, 1.5)],
    ['[u.clip_grad_norm_(p, 2.0) for p in ps] and None', (ps) => void optim.clipEachGradNorm_(ps, 2)],
    [
      '[u.clip_grad_norm_(p, 2.0, 3) for p in ps] and None',
      (ps) => void optim.clipEachGradNorm_(ps, 2, { normType: 3 }),
    ],
  ];
  const expected = runPython<[number | null, number[][]][]>(
    `
import json, sys, torch
from torch.nn import utils as u
def run(call):
    ps = [torch.zeros(3, 2), torch.zeros(4), torch.zeros(1, 2, 2)]
    for i, p in enumerate(ps):
        n = torch.arange(p.numel(), dtype=torch.float64).reshape(p.shape)
        p.grad = ((n * 7 + i * 3) % 11 / 11 - 0.5).float() * 10
    norm = eval(call)
    return [None if norm is None else norm.item(), [p.grad.double().reshape(-1).tolist() for p in ps]]
print(json.dumps([run(call) for call in json.load(sys.stdin)]))
`,
    kinds.map(([python]) => python),
  );
  kinds.forEach(([python, clip], i) => {
    const ps = make();
    const norm = clip(ps);
    assert.deepEqual([norm?.item() ?? null, ps.map((p) => flat(p.grad!))], expected[i], python);
  });
});

test('steps leave no tensors behind', () => {
  const p = new nn.Parameter(torch.ones([4]));
  for (const optimizer of [new optim.Adam([p]), new optim.SGD([p], { momentum: 0.9 })]) {
    const one = (): void =>
      torch.scope(() => {
        optimizer.zeroGrad();
        p.square().sum().backward();
        optimizer.step();
      });
    one();
    one();
    const before = torch.memoryStats().liveTensors;
    for (let i = 0; i < 10; i++) one();
    assert.ok(torch.memoryStats().liveTensors <= before);
  }
});
