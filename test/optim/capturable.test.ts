import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { optim } = torch;
const skip = pythonTorch() ? false : pythonTorchMissing;

const KINDS = {
  Adam: { weight_decay: 0.01 },
  AdamW: { amsgrad: true },
  SGD: { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
} as const;
type Kind = keyof typeof KINDS;

/** Learning rates step by step, and at which steps the device finds something infinite. */
const RATES = [0.1, 0.1, 0.05, 0.3, 0.3, 0.01];
const FOUND = [0, 0, 1, 0, 1, 0];

// The learning rate is a tensor, as PyTorch wants it for recorded steps.
const REFERENCE = `
import json, sys, torch
given = json.load(sys.stdin)
torch.manual_seed(5)
w = [torch.randn(3, 4).requires_grad_(), torch.randn(7).requires_grad_()]
more = dict(capturable=True) if given['kind'] != 'SGD' else {}
rate = torch.tensor(1.0)
o = getattr(torch.optim, given['kind'])(w, lr=rate, fused=True, **given['options'], **more)
rows = []
for lr, found in zip(given['rates'], given['found']):
    o.zero_grad()
    sum((p ** 3).sum() for p in w).backward()
    rate.fill_(lr)
    o.found_inf = torch.tensor(float(found))
    o.step()
    rows.append([v for p in w for v in p.flatten().tolist()])
state = o.state_dict()
steps = [s['step'].item() for s in state['state'].values() if 'step' in s]
json.dump(dict(rows=rows, steps=steps, keys=list(state['param_groups'][0]),
    capturable=state['param_groups'][0].get('capturable')), sys.stdout)
`;

function make(kind: Kind, params: torch.Tensor[], more: object): torch.optim.Optimizer {
  const { weight_decay: weightDecay, ...options } = KINDS[kind] as { weight_decay?: number };
  return new optim[kind](params, { lr: 1, weightDecay, ...options, ...more });
}

function weights(): torch.Tensor[] {
  torch.manualSeed(5);
  return [torch.randn([3, 4]), torch.randn([7])].map((w) => w.requiresGrad_());
}

function backward(params: torch.Tensor[]): void {
  for (const p of params) p.pow(3).sum().backward();
}

const values = (params: torch.Tensor[]): number[] =>
  params.flatMap((p) => [...(p.flatten().toTypedArray() as Float32Array)]);

for (const kind of Object.keys(KINDS) as Kind[]) {
  test(`${kind}: learning rates read beside the parameters, and steps that are left out, give Python’s bits`, {
    skip,
  }, () => {
    const expected = runPython<{ rows: number[][]; steps: number[]; keys: string[]; capturable?: boolean }>(
      REFERENCE,
      { kind, options: KINDS[kind], rates: RATES, found: FOUND },
    );
    const params = weights();
    const optimizer = make(kind, params, { capturable: true });
    const rows = RATES.map((lr, i) => {
      optimizer.zeroGrad();
      backward(params);
      optimizer.paramGroups[0].lr = lr;
      optimizer.foundInf = torch.tensor(FOUND[i], { dtype: torch.float32 });
      optimizer.step();
      return values(params);
    });
    assert.deepEqual(rows, expected.rows);
    const state = optimizer.stateDict();
    assert.deepEqual(Object.keys(state.param_groups[0]), expected.keys);
    assert.equal(state.param_groups[0].capturable, expected.capturable ?? undefined);
    if (kind !== 'SGD') {
      const steps = [...state.state.values()].map(({ step }) => Number((step as torch.Tensor).item()));
      assert.deepEqual(steps, expected.steps);
    }
  });

  test(`${kind}: capturable steps are the usual ones, but for the rounding of the learning rate`, () => {
    const runs = [false, true].map((capturable) => {
      const params = weights();
      const optimizer = make(kind, params, { capturable });
      // Learning rates that float32 holds exactly.
      for (const lr of [0.25, 0.125]) {
        optimizer.zeroGrad();
        backward(params);
        optimizer.paramGroups[0].lr = lr;
        optimizer.step();
      }
      return values(params);
    });
    assert.deepEqual(runs[1], runs[0]);
  });
}

test('a capturable state travels to Python and back', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'capturable-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const params = weights();
  const optimizer = make('AdamW', params, { capturable: true });
  optimizer.paramGroups[0].lr = 0.25;
  const step = (): void => {
    optimizer.zeroGrad();
    backward(params);
    optimizer.step();
  };
  step();
  torch.saveSync({ weights: params, state: optimizer.stateDict() }, join(folder, 'a.pth'));
  step();
  const theirs = runPython<number[]>(
    `
import json, sys, torch
given = json.load(sys.stdin)
saved = torch.load(given + '/a.pth', weights_only=False)
w = [p.detach().requires_grad_() for p in saved['weights']]
o = torch.optim.AdamW(w, capturable=True, fused=True)
o.load_state_dict(saved['state'])
assert o.param_groups[0]['capturable'] and o.param_groups[0]['fused'] is None, o.param_groups
o.param_groups[0]['fused'] = True
for p in w: (p ** 3).sum().backward()
o.step()
torch.save(o.state_dict(), given + '/b.pth')
json.dump([v for p in w for v in p.flatten().tolist()], sys.stdout)
`,
    folder,
  );
  assert.deepEqual(values(params), theirs);
  const again = make('AdamW', params, {});
  again.loadStateDict(await torch.load(join(folder, 'b.pth')));
  // Whether steps are recorded is the run's business, not the checkpoint's.
  assert.equal(again.capturable, false);
  assert.equal(again.paramGroups[0].capturable, false);
  optimizer.loadStateDict(await torch.load(join(folder, 'b.pth')));
  assert.equal(optimizer.paramGroups[0].capturable, true);
});

test('refresh writes learning rates, and says when parameters are grouped anew', () => {
  const [a, b] = weights();
  const optimizer = new optim.AdamW([{ params: [a] }, { params: [b] }], { lr: 0.5, capturable: true });
  const step = (): void => {
    optimizer.zeroGrad();
    backward([a, b]);
    optimizer.step();
  };
  step();
  const first = optimizer.refresh();
  for (const group of optimizer.paramGroups) group.lr = 0.25;
  step();
  assert.equal(optimizer.refresh(), first);
  optimizer.paramGroups[0].lr = 0.125;
  const parted = optimizer.refresh();
  assert.notEqual(parted, first, 'no longer one call');
  assert.equal(optimizer.refresh(), parted);
  optimizer.loadStateDict(optimizer.stateDict());
  step();
  assert.notEqual(optimizer.refresh(), parted, 'a step in between hides nothing');
});

test('what cannot be recorded is refused, with the reason', () => {
  const [w] = weights();
  assert.throws(
    () => new optim.Adam([w], { fused: false, capturable: true }),
    /Adam: .*unless fused is false/s,
  );
  const other = new optim.RMSprop([w]);
  assert.throws(() => {
    other.capturable = true;
  }, /RMSprop: its steps cannot be recorded in a CUDA graph; those of Adam, AdamW and SGD can/);
  const wide = torch.randn([4, 4]).as_strided([4, 2], [4, 2]).requiresGrad_();
  const gaps = new optim.SGD([wide], { lr: 1, capturable: true });
  wide.sum().backward();
  assert.throws(() => gaps.step(), /a capturable step needs the fused kernel/);
});

test('every optimizer heeds foundInf, by itself where there is no fused kernel for it', () => {
  const wide = (): torch.Tensor => torch.ones([4, 4]).as_strided([4, 2], [4, 2]).requiresGrad_();
  const makers: Record<string, (params: torch.Tensor[]) => torch.optim.Optimizer> = {
    RMSprop: (params) => new optim.RMSprop(params),
    'Adam, not fused': (params) => new optim.Adam(params, { fused: false }),
    Adam: (params) => new optim.Adam(params),
    'SGD with momentum': (params) => new optim.SGD(params, { momentum: 0.9 }),
  };
  for (const [name, make] of Object.entries(makers)) {
    // The second has gaps in memory.
    for (const w of [weights()[0], wide()]) {
      const optimizer = make([w]);
      w.sum().backward();
      for (const found of [1, 0]) {
        const before = values([w]);
        optimizer.foundInf = torch.tensor(found, { dtype: torch.float32 });
        optimizer.step();
        if (found === 1) assert.deepEqual(values([w]), before, name);
        else assert.notDeepEqual(values([w]), before, name);
      }
    }
  }
});

test('a scaler leaves the decision to the device', () => {
  const [w] = weights();
  const before = values([w]);
  const optimizer = new optim.AdamW([w], { lr: 0.1, capturable: true });
  const scaler = new torch.amp.GradScaler({ initScale: 8 });
  const step = (bad: boolean): void => {
    optimizer.zeroGrad();
    scaler.scale(w.sum()).backward();
    if (bad) (w.grad as torch.Tensor).fill_(Number.POSITIVE_INFINITY);
    assert.equal(scaler.step(optimizer), undefined);
    scaler.update();
  };
  step(true);
  assert.deepEqual(values([w]), before);
  assert.equal(scaler.getScale(), 4);
  step(false);
  assert.notDeepEqual(values([w]), before);
  assert.equal(optimizer.foundInf, null);
});
