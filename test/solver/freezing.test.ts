import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, getCfg } from '../../src/config/index.js';
import { buildOptimizer, freezingOf, frozenParts } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';

type Tensor = torch.Tensor;

class Branched extends torch.nn.Module {
  readonly backbone = new torch.nn.Sequential(new torch.nn.Linear(2, 2), new torch.nn.Linear(2, 2));
  readonly b1 = new torch.nn.Linear(2, 2);
  readonly b1_head = new torch.nn.Linear(2, 2);

  protected override forward(x: Tensor): Tensor {
    return this.b1_head.call(this.b1.call(this.backbone.call(x)));
  }
}

function cfgWith(options: Record<string, unknown>): Config {
  return getCfg().mergeFromList(Object.entries(options).flat());
}

function frozen(model: Branched, layers: string[], compat = ''): string[] {
  const { freezes } = frozenParts(model, layers, cfgWith({ COMPAT: compat }));
  return [...model.namedParameters()].map(([name]) => name).filter(freezes);
}

test('layers are found by whole components of their paths', () => {
  const model = new Branched();
  assert.deepEqual(frozen(model, ['b1']), ['b1.weight', 'b1.bias']);
  assert.deepEqual(frozen(model, ['backbone.1', 'b1_head.bias']), [
    'backbone.1.weight',
    'backbone.1.bias',
    'b1_head.bias',
  ]);
  const { modules } = frozenParts(model, ['backbone.1', 'b1_head.bias', 'b1'], getCfg());
  assert.deepEqual(modules, [model.backbone.at(1), model.b1]);
});

test('COMPAT fastreid: by patterns that names begin with; modes of children of exactly that name', () => {
  const model = new Branched();
  assert.deepEqual(frozen(model, ['b1', 'nothing'], 'fastreid'), [
    'b1.weight',
    'b1.bias',
    'b1_head.weight',
    'b1_head.bias',
  ]);
  assert.deepEqual(frozen(model, ['backbone.[1-3].w'], 'fastreid'), ['backbone.1.weight']);
  const { modules } = frozenParts(model, ['b1', 'backbone.0', 'nothing'], cfgWith({ COMPAT: 'fastreid' }));
  assert.deepEqual(modules, [model.b1]);
});

test('a name that matches nothing is refused, with those to choose from', () => {
  const model = new Branched();
  assert.throws(
    () => frozenParts(model, ['backbone', 'b2'], getCfg()),
    /MODEL\.FREEZE_LAYERS names 'b2', which is no part .*Choose from: backbone, b1, b1_head, or a path below/,
  );
  assert.throws(
    () => frozenParts(model, ['backbone.7.x'], getCfg()),
    /Choose from: backbone\.0, backbone\.1$/,
  );
  assert.throws(() => frozenParts(model, [''], getCfg()), /Choose from: backbone, b1, b1_head/);
});

const FREEZE = { 'MODEL.FREEZE_LAYERS': ['b1'], 'SOLVER.FREEZE_ITERS': 2 };

test('frozen parameters have groups of their own, marked as FastReID marks them', () => {
  const groups = (options: Record<string, unknown>): unknown[] =>
    buildOptimizer(cfgWith(options), new Branched()).paramGroups.map((g) => [
      g.freeze_status,
      (g.param_names ?? []).length,
    ]);
  // `backbone` comes before `b1`, and both before the head.
  assert.deepEqual(groups(FREEZE), [
    ['normal', 6],
    ['freeze', 2],
  ]);
  assert.deepEqual(groups({ ...FREEZE, COMPAT: 'fastreid' }), [
    ['normal', 4],
    ['freeze', 4],
  ]);
  assert.deepEqual(groups({ ...FREEZE, 'SOLVER.FREEZE_ITERS': 0 }), [['normal', 8]]);
});

test('the optimizer leaves frozen parameters, their state and gradients alone for so many steps', () => {
  const model = new Branched();
  const clip = { 'SOLVER.CLIP_GRADIENTS.ENABLED': true, 'SOLVER.CLIP_GRADIENTS.CLIP_TYPE': 'value' };
  const optimizer = buildOptimizer(cfgWith({ ...FREEZE, ...clip, 'SOLVER.OPT': 'Adam' }), model);
  const { b1, b1_head: head } = model;
  const step = (): { moved: boolean; headMoved: boolean } => {
    const before = [b1.weight, head.weight].map((w) => w.detach().clone());
    for (const p of model.parameters()) p.grad = torch.full_like(p, 9);
    optimizer.step();
    return {
      moved: !torch.equal(b1.weight, before[0]),
      headMoved: !torch.equal(head.weight, before[1]),
    };
  };
  const first = (t: Tensor | null): unknown => t?.flatten().select(0, 0).item();
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(step(), { moved: false, headMoved: true });
    assert.equal(optimizer.state.has(b1.weight), false);
    assert.deepEqual([first(b1.weight.grad), first(head.weight.grad)], [9, 5]);
  }
  assert.deepEqual(step(), { moved: true, headMoved: true });
  assert.equal(first(b1.weight.grad), 5);
  assert.equal((optimizer.state.get(b1.weight) as { step: Tensor }).step.item(), 1);

  // Whoever resumes a run says how far it is.
  const freezing = freezingOf(optimizer);
  assert.ok(freezing);
  freezing.done = 1;
  assert.equal(step().moved, false);
  assert.equal(step().moved, true);
  assert.equal(freezingOf(buildOptimizer(getCfg(), new Branched())), undefined);
});
