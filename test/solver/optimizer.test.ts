import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Config, getCfg, unsupported } from '../../src/config/index.js';
import { buildOptimizer, unflattenState } from '../../src/solver/index.js';
import * as torch from '../../src/torch/index.js';

type Tensor = torch.Tensor;

/** A model with every kind of parameter that the solver tells apart. */
class Small extends torch.nn.Module {
  readonly backbone = new torch.nn.Sequential(new torch.nn.Linear(3, 2), new torch.nn.BatchNorm1d(2));
  readonly heads = new torch.nn.Sequential(new torch.nn.Linear(2, 2), new torch.nn.BatchNorm1d(2));

  constructor() {
    super();
    this.heads.at(1).requiresGrad_(false);
  }

  protected override forward(x: Tensor): Tensor {
    return this.heads.call(this.backbone.call(x));
  }
}

function cfgWith(options: Record<string, unknown>): Config {
  return getCfg().mergeFromList(Object.entries(options).flat());
}

function groupsOf(options: Record<string, unknown>) {
  const { paramGroups } = buildOptimizer(cfgWith(options), new Small());
  return paramGroups.map(({ lr, weight_decay, param_names }) => ({ lr, weight_decay, param_names }));
}

test('equal rates and decays make one group, without frozen parameters', () => {
  assert.deepEqual(groupsOf({}), [
    {
      lr: 3e-4,
      weight_decay: 5e-4,
      param_names: [
        'backbone.0.weight',
        'backbone.0.bias',
        'backbone.1.weight',
        'backbone.1.bias',
        'heads.0.weight',
        'heads.0.bias',
      ],
    },
  ]);
});

test('biases, heads and normalisation layers get their own rates and decays', () => {
  const groups = groupsOf({
    'SOLVER.BASE_LR': 0.01,
    'SOLVER.BIAS_LR_FACTOR': 2,
    'SOLVER.HEADS_LR_FACTOR': 10,
    'SOLVER.WEIGHT_DECAY': 0.1,
    'SOLVER.WEIGHT_DECAY_NORM': 0.2,
    'SOLVER.WEIGHT_DECAY_BIAS': 0.3,
  });
  assert.deepEqual(groups, [
    { lr: 0.01, weight_decay: 0.1, param_names: ['backbone.0.weight'] },
    { lr: 0.02, weight_decay: 0.3, param_names: ['backbone.0.bias', 'backbone.1.bias'] },
    { lr: 0.01, weight_decay: 0.2, param_names: ['backbone.1.weight'] },
    { lr: 0.1, weight_decay: 0.1, param_names: ['heads.0.weight'] },
    { lr: 0.2, weight_decay: 0.3, param_names: ['heads.0.bias'] },
  ]);
});

/** MGN's names, and every normalisation layer. */
class Branched extends torch.nn.Module {
  readonly backbone = new torch.nn.Sequential(
    new torch.nn.BatchNorm2d(4),
    new torch.nn.BatchNorm1d(4),
    new torch.nn.GroupNorm(2, 4),
    new torch.nn.InstanceNorm2d(4, { affine: true }),
    new torch.nn.LayerNorm([4]),
  );
  readonly b1 = new torch.nn.Linear(4, 4, { bias: false });
  readonly b1_head = new torch.nn.Linear(4, 2, { bias: false });
  readonly b21_head = new torch.nn.Linear(4, 2, { bias: false });

  protected override forward(x: Tensor): Tensor {
    return this.b1_head.call(this.b1.call(x));
  }
}

test('weights of every normalisation layer have the decay of such, all heads the rate of heads', () => {
  const options = {
    'SOLVER.BASE_LR': 1,
    'SOLVER.HEADS_LR_FACTOR': 10,
    'SOLVER.WEIGHT_DECAY': 0.1,
    'SOLVER.WEIGHT_DECAY_NORM': 0.2,
    'SOLVER.WEIGHT_DECAY_BIAS': 0.3,
  };
  const groups = (compat: string): unknown[] =>
    buildOptimizer(cfgWith({ ...options, COMPAT: compat }), new Branched()).paramGroups.map((g) => [
      g.lr,
      g.weight_decay,
      g.param_names,
    ]);
  const norms = [0, 1, 2, 3, 4].map((i) => `backbone.${i}`);
  const shared = [
    [1, 0.2, norms.map((norm) => `${norm}.weight`)],
    [1, 0.3, norms.map((norm) => `${norm}.bias`)],
  ];
  const heads = ['b1_head.weight', 'b21_head.weight'];
  assert.deepEqual(groups(''), [...shared, [1, 0.1, ['b1.weight']], [10, 0.1, heads]]);
  // FastReID's factor is for what is called `heads`.
  assert.deepEqual(groups('fastreid'), [...shared, [1, 0.1, ['b1.weight', ...heads]]]);
});

test('every name of SOLVER.OPT makes that optimizer, with the rates and decays of the configuration', () => {
  const names = [
    'Adadelta',
    'Adagrad',
    'Adam',
    'Adamax',
    'AdamW',
    'ASGD',
    'Lamb',
    'NAdam',
    'RAdam',
    'RMSprop',
  ];
  for (const name of [...names, 'Rprop', 'SGD']) {
    const cfg = cfgWith({ 'SOLVER.OPT': name, 'SOLVER.BASE_LR': 0.5, 'SOLVER.WEIGHT_DECAY': 0.25 });
    assert.deepEqual(unsupported(cfg), [], name);
    const model = new Small();
    const optimizer = buildOptimizer(cfg, model);
    assert.equal(optimizer.constructor.name, name);
    assert.deepEqual([optimizer.paramGroups[0].lr, optimizer.paramGroups[0].weight_decay], [0.5, 0.25], name);
    const { weight } = model.backbone.at(0) as torch.nn.Linear;
    const before = weight.detach().clone();
    for (const p of model.parameters()) p.grad = torch.ones_like(p);
    optimizer.step();
    assert.ok(!torch.equal(weight, before), name);
  }
});

test('SOLVER.OPT chooses the optimizer and its settings', () => {
  const sgd = buildOptimizer(
    cfgWith({ 'SOLVER.OPT': 'SGD', 'SOLVER.MOMENTUM': 0.8, 'SOLVER.NESTEROV': true }),
    new Small(),
  );
  assert.ok(sgd instanceof torch.optim.SGD);
  assert.equal(sgd.paramGroups[0].momentum, 0.8);
  assert.equal(sgd.paramGroups[0].nesterov, true);
  assert.ok(buildOptimizer(cfgWith({ 'SOLVER.OPT': 'AdamW' }), new Small()) instanceof torch.optim.AdamW);
  assert.throws(() => buildOptimizer(cfgWith({ 'SOLVER.OPT': 'Adan' }), new Small()), /Did you mean 'Adam'/);
});

/** The gradients, as the step saw them, of a model whose gradients are all 3. */
function clipped(options: Record<string, unknown>): Record<string, number> {
  const model = new Small();
  const optimizer = buildOptimizer(cfgWith({ 'SOLVER.CLIP_GRADIENTS.ENABLED': true, ...options }), model);
  for (const p of model.parameters()) if (p.requiresGrad) p.grad = torch.full_like(p, 3);
  optimizer.step();
  const found: Record<string, number> = {};
  for (const [name, { grad }] of model.namedParameters()) {
    if (grad) found[name] = Number(grad.flatten().select(0, 0).item());
  }
  return found;
}

function assertNear(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) < 1e-5, `${actual} instead of ${expected}`);
}

test('clipping by value cuts each element', () => {
  const grads = clipped({
    'SOLVER.CLIP_GRADIENTS.CLIP_TYPE': 'value',
    'SOLVER.CLIP_GRADIENTS.CLIP_VALUE': 0.5,
  });
  assert.ok(Object.values(grads).every((g) => g === 0.5));
});

test('clipping by norm is of each parameter; COMPAT fastreid, of each group', () => {
  const each = clipped({ 'SOLVER.CLIP_GRADIENTS.CLIP_VALUE': 1 });
  assertNear(each['backbone.0.weight'], 1 / Math.sqrt(6));
  assertNear(each['heads.0.bias'], 1 / Math.sqrt(2));
  const together = clipped({ 'SOLVER.CLIP_GRADIENTS.CLIP_VALUE': 1, COMPAT: 'fastreid' });
  for (const g of Object.values(together)) assertNear(g, 1 / Math.sqrt(18));
});

test('clipping launches as little for many groups as for one', () => {
  for (const type of ['value', 'norm']) {
    const clip = { 'SOLVER.CLIP_GRADIENTS.ENABLED': true, 'SOLVER.CLIP_GRADIENTS.CLIP_TYPE': type };
    const factors = { 'SOLVER.BIAS_LR_FACTOR': 2, 'SOLVER.HEADS_LR_FACTOR': 3 };
    const model = new Small();
    const optimizer = buildOptimizer(cfgWith({ ...clip, ...factors, 'SOLVER.OPT': 'SGD' }), model);
    assert.equal(optimizer.paramGroups.length, 4);
    for (const p of model.parameters()) if (p.requiresGrad) p.grad = torch.full_like(p, 3);
    const names: string[] = [];
    torch.observeOperators(
      ({ name }) => void names.push(name),
      () => optimizer.step(),
    );
    assert.equal(names.filter((name) => /^_foreach_(norm|clamp_max_)$/.test(name)).length, 1, type);
  }
});

test('clipping passes over parameters without gradients', () => {
  for (const type of ['value', 'norm']) {
    for (const compat of ['', 'fastreid']) {
      const model = new Small();
      const optimizer = buildOptimizer(
        cfgWith({
          'SOLVER.CLIP_GRADIENTS.ENABLED': true,
          'SOLVER.CLIP_GRADIENTS.CLIP_TYPE': type,
          COMPAT: compat,
        }),
        model,
      );
      const { weight, bias } = model.backbone.at(0) as torch.nn.Linear;
      const before = weight.detach().clone();
      optimizer.step();
      (bias as Tensor).grad = torch.full([2], 100);
      optimizer.step();
      assert.equal(weight.grad, null);
      assert.ok(torch.equal(weight, before));
      assertNear(Number((bias as Tensor).grad?.norm().item()), type === 'value' ? 5 * Math.SQRT2 : 5);
    }
  }
});

test("FastReID's flat optimizer state becomes that of each parameter", () => {
  const model = new Small();
  const cfg = getCfg();
  const optimizer = buildOptimizer(cfg, model);
  const flat = {
    state: new Map([[0, { step: torch.tensor(5), exp_avg: torch.arange(18), exp_avg_sq: torch.ones([18]) }]]),
    param_groups: [{ lr: 0.125, weight_decay: 0.5, freeze_status: 'normal', params: [0] }],
  };
  optimizer.loadStateDict(flat);
  const { state, param_groups } = optimizer.stateDict();
  assert.equal(param_groups[0].lr, 0.125);
  assert.equal(state.size, 6);
  const [bias, last] = [state.get(1), state.get(5)];
  assert.ok(bias && last);
  assert.deepEqual((bias.exp_avg as Tensor).toArray(), [6, 7]);
  assert.equal((last.step as Tensor).item(), 5);

  const own = optimizer.stateDict();
  assert.equal(unflattenState(optimizer, own), own);
  const wrong = { ...flat, state: new Map([[0, { exp_avg: torch.ones([17]) }]]) };
  assert.throws(() => unflattenState(optimizer, wrong), /has 17 elements, the model's parameters 18/);
});

test('a model without trainable parameters is refused', () => {
  assert.throws(() => buildOptimizer(getCfg(), new Small().requiresGrad_(false)), /no trainable parameters/);
});
