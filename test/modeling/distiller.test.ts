import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError } from '../../src/config/index.js';
import {
  BACKBONE_REGISTRY,
  Baseline,
  buildModel,
  Distiller,
  type HeadOutputs,
  jsdivLoss,
  MovingAverage,
} from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { deviation } from '../support/closeness.js';
import { fill, fillModel, images } from '../support/fill.js';
import { referenceCfg } from '../support/golden.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

type Options = Record<string, unknown>;

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-teachers-'));
after(() => rmSync(folder, { recursive: true }));

/** Two convolutions, with normalisation and dropout. */
class SmallBackbone extends torch.nn.Module {
  readonly conv1 = new torch.nn.Conv2d(3, 8, 3, { stride: 4, bias: false });
  readonly bn1 = new torch.nn.BatchNorm2d(8);
  readonly conv2 = new torch.nn.Conv2d(8, 16, 3, { stride: 2 });
  readonly dropout: torch.nn.Dropout;

  constructor(p: number) {
    super();
    this.dropout = new torch.nn.Dropout(p);
  }

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.dropout.call(this.conv2.call(this.bn1.call(this.conv1.call(x)).relu()));
  }
}
BACKBONE_REGISTRY.register('build_small_backbone', (cfg) => new SmallBackbone(cfg.MODEL.BACKBONE.DROP_RATIO));

const SMALL = { 'MODEL.BACKBONE.NAME': 'build_small_backbone', 'MODEL.BACKBONE.FEAT_DIM': 16 };
const DISTILLER = { ...SMALL, 'MODEL.META_ARCHITECTURE': 'Distiller' };
const EMA = { 'KD.EMA.ENABLED': true, 'KD.EMA.MOMENTUM': 0.75 };
const silent = (): void => {};
const build = (options: Options): Baseline => {
  const model = buildModel(referenceCfg(options), silent);
  assert.ok(model instanceof Baseline);
  return model;
};
const TARGETS = torch.tensor([0, 0, 3, 3], { dtype: torch.int64 });
const batchOf = (name: string) => ({ images: images(name, 4, 64, 32), targets: TARGETS });

/** Trains no one: writes a filled model's configuration and weights, and gives the paths and the model. */
async function writeTeacher(name: string, gain: number, options: Options = {}) {
  const cfg = referenceCfg({ ...SMALL, ...options });
  const config = join(folder, `${name}.yaml`);
  const weights = join(folder, `${name}.pth`);
  writeFileSync(config, cfg.dump());
  const model = build({ ...SMALL, ...options });
  fillModel(model, gain);
  await torch.save(new Map([['model', model.stateDict()]]), weights);
  return { config, weights, model };
}

/** The options that name teachers. */
const taughtBy = (...teachers: { config: string; weights: string }[]): Options => ({
  'KD.MODEL_CONFIG': teachers.map(({ config }) => config),
  'KD.MODEL_WEIGHTS': teachers.map(({ weights }) => weights),
});

/** What a model in training mode predicts, without a trace in it. */
function logits(model: Baseline, pictures: torch.Tensor): torch.Tensor {
  const state = new Map([...model.stateDict()].map(([key, tensor]) => [key, tensor.clone()]));
  const outputs = torch.noGrad(() =>
    model.heads.call(model.backbone.call(model.normalize(pictures)), TARGETS),
  );
  model.loadStateDict(state);
  return (outputs as HeadOutputs).pred_class_logits;
}

const REFERENCE = `
import json, sys, torch
from torch.nn import functional as F
torch.set_num_threads(1)
student, teacher = (torch.tensor(rows, requires_grad=True) for rows in json.load(sys.stdin))
def kl(p, q, t):
    return F.kl_div(F.log_softmax(p / t, 1), F.softmax(q / t, 1), reduction="sum") * t**2 / len(p)
loss = (kl(student, teacher.detach(), 16) + kl(teacher.detach(), student, 16)) / 2
loss.backward()
print(json.dumps([loss.item(), student.grad.tolist()]))
`;

const LOGITS = ['student', 'teacher'].map((name) => fill(name, [3, 5], (v) => 40 * v));
const rows = (t: torch.Tensor) => t.toArray() as number[][];

test('jsdivLoss is the mean of both divergences of the softened predictions', () => {
  const softmax = (row: number[]): number[] => {
    const powers = row.map((x) => Math.exp(x / 16));
    return powers.map((p) => p / powers.reduce((a, b) => a + b));
  };
  const [ps, qs] = LOGITS.map((t) => rows(t).map(softmax));
  const terms = ps.flatMap((p, i) => p.map((pk, k) => (pk - qs[i][k]) * Math.log(pk / qs[i][k])));
  const expected = (16 ** 2 * terms.reduce((a, b) => a + b)) / 3 / 2;
  const loss = Number(jsdivLoss(LOGITS[0], LOGITS[1]).item());
  assert.ok(Math.abs(loss / expected - 1) < 1e-5, `${loss}, expected ${expected}`);
  assert.ok(Math.abs(Number(jsdivLoss(LOGITS[0], LOGITS[0]).item())) < 1e-4);
});

test('jsdivLoss and its gradient have the bits of PyTorch', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, () => {
  const student = LOGITS[0].clone().requiresGrad_();
  const loss = jsdivLoss(student, LOGITS[1]);
  loss.backward();
  const [value, gradient] = runPython<[number, number[][]]>(REFERENCE, LOGITS.map(rows));
  assert.equal(loss.item(), value);
  assert.deepEqual(student.grad?.toArray(), gradient);
});

test('loss_jsdiv is the mean over the teachers, and only the student learns', async () => {
  const one = await writeTeacher('one', 1.5);
  const two = await writeTeacher('two', 0.7, {
    'MODEL.HEADS.CLS_LAYER': 'CircleSoftmax',
    'MODEL.HEADS.SCALE': 16,
  });
  const model = build({ ...DISTILLER, ...taughtBy(one, two) });
  fillModel(model, 1);
  const batch = batchOf('kd');
  const mine = logits(model, batch.images);
  const terms = [one, two].map((t) => jsdivLoss(mine, logits(t.model, batch.images)));
  for (let i = 0; i < 2; i++) {
    const losses = model.losses(batch);
    assert.deepEqual(Object.keys(losses), ['loss_cls', 'loss_triplet', 'loss_jsdiv']);
    assert.equal(losses.loss_jsdiv.item(), terms[0].add(terms[1]).div(2).item());
    assert.ok(Number(losses.loss_jsdiv.item()) > 0.01);
    losses.loss_jsdiv.backward();
  }
  assert.ok(model.metrics.cls_accuracy >= 0);
  const trainable = [...model.parameters()].filter((p) => p.requiresGrad);
  assert.ok(trainable.every((p) => p.grad !== null));
});

test('teachers are no part of the student: neither in its state nor among its modules', async () => {
  const teacher = await writeTeacher('apart', 1);
  const model = build({ ...DISTILLER, ...EMA, ...taughtBy(teacher) });
  const plain = build(SMALL);
  const names = (m: Baseline) => [[...m.stateDict().keys()], [...m.namedModules()].map(([name]) => name)];
  for (const prepare of [() => {}, () => model.prepareTraining(), () => model.losses(batchOf('kd'))]) {
    prepare();
    assert.deepEqual(names(model), names(plain));
    assert.equal([...model.parameters()].length, [...plain.parameters()].length);
  }
  // What FastReID has written, with or without teachers, loads.
  assert.deepEqual(model.loadStateDict(plain.stateDict()).unexpected, []);
});

test('without training, the files of the teachers are not needed, and nor is any teacher', () => {
  const gone = { config: join(folder, 'gone.yaml'), weights: join(folder, 'gone.pth') };
  const plain = build(SMALL);
  fillModel(plain, 1);
  const expected = plain.eval().embed(batchOf('kd'));
  for (const options of [taughtBy(gone), {}]) {
    const model = build({ ...DISTILLER, ...options }).eval();
    fillModel(model, 1);
    assert.equal(deviation(model.embed(batchOf('kd')), expected), 0);
    model.train();
    assert.throws(() => model.prepareTraining(), ConfigError);
    assert.throws(() => model.losses(batchOf('kd')), ConfigError);
  }
});

test('making the teachers draws nothing from the generator', async () => {
  const teacher = await writeTeacher('quiet', 1);
  torch.manualSeed(8);
  const plain = build(SMALL);
  const next = torch.rand([3]).toArray();
  torch.manualSeed(8);
  const model = build({ ...DISTILLER, ...EMA, ...taughtBy(teacher) });
  model.prepareTraining();
  assert.deepEqual(torch.rand([3]).toArray(), next);
  for (const [key, tensor] of plain.stateDict()) {
    assert.ok(torch.equal(tensor, model.stateDict().get(key) as torch.Tensor), key);
  }
});

test('the moving average follows the weights once a step, and has the buffers of the student', () => {
  const model = build({ ...DISTILLER, ...EMA });
  fillModel(model, 1);
  model.train();
  const { ema_teacher } = model.extraState();
  const average = () => ema_teacher.stateDict() as Map<string, torch.Tensor>;
  assert.equal(average().size, 0);
  const optimizer = new torch.optim.SGD(
    [...model.parameters()].filter((p) => p.requiresGrad),
    { lr: 0.05 },
  );
  const weights = new Set([...model.namedParameters()].map(([name]) => name));
  let expected: Map<string, torch.Tensor> | undefined;
  for (let step = 0; step < 4; step++) {
    // The weights the step begins with count, whatever the optimizer makes of them.
    const now = new Map([...model.stateDict()].map(([key, tensor]) => [key, tensor.clone()]));
    const before = expected ?? now;
    expected = new Map([...now].map(([key, t]) => [key, (before.get(key) ?? t).mul(0.75).add(t.mul(0.25))]));
    optimizer.zeroGrad();
    const losses = Object.values(model.losses(batchOf(`step ${step}`)));
    losses.reduce((a, b) => a.add(b)).backward();
    optimizer.step();
    const found = average();
    assert.deepEqual([...found.keys()], [...model.stateDict().keys()]);
    for (const [key, tensor] of found) {
      const wanted = (weights.has(key) ? expected : model.stateDict()).get(key) as torch.Tensor;
      assert.ok(torch.equal(tensor, wanted), `${key} in step ${step}`);
    }
  }
  const kept = new Map([...average()].map(([key, tensor]) => [key, tensor.clone()]));
  torch.noGrad(() => model.losses(batchOf('no step')));
  model.eval().embed(batchOf('no step'));
  for (const name of weights)
    assert.ok(torch.equal(average().get(name) as never, kept.get(name) as never), name);
});

test('the moving average predicts with its own weights and the statistics of the batch', () => {
  const model = build({ ...DISTILLER, ...EMA });
  fillModel(model, 1);
  const optimizer = new torch.optim.SGD(
    [...model.parameters()].filter((p) => p.requiresGrad),
    { lr: 0.5 },
  );
  model.losses(batchOf('a')).loss_cls.backward();
  optimizer.step();
  const batch = batchOf('b');
  const mine = logits(model, batch.images);
  const loss = model.losses(batch).loss_jsdiv;
  const teacher = build(SMALL);
  teacher.loadStateDict(model.extraState().ema_teacher.stateDict() as Map<string, torch.Tensor>);
  assert.equal(loss.item(), jsdivLoss(mine, logits(teacher, batch.images)).item());
  assert.ok(Number(loss.item()) > 1e-4);
});

test('nothing is dropped at random in a teacher, unless FastReID’s figures are asked for', async () => {
  const teacher = await writeTeacher('dropping', 1.5, { 'MODEL.BACKBONE.DROP_RATIO': 0.5 });
  for (const COMPAT of ['', 'fastreid']) {
    const model = build({ ...DISTILLER, ...taughtBy(teacher), COMPAT });
    fillModel(model, 1);
    const values = [1, 2].map((seed) => {
      torch.manualSeed(seed);
      return model.losses(batchOf('kd')).loss_jsdiv.item();
    });
    assert.equal(values[0] === values[1], COMPAT === '');
  }
});

test('a teacher sees images normalised as it was trained, unless FastReID’s figures are asked for', async () => {
  const MEAN = [127.5, 127.5, 127.5];
  const teacher = await writeTeacher('pixels', 1.5, {
    'MODEL.PIXEL_MEAN': MEAN,
    'MODEL.PIXEL_STD': [60, 60, 60],
  });
  const values = ['', 'fastreid'].map((COMPAT) => {
    const model = build({ ...DISTILLER, ...taughtBy(teacher), COMPAT });
    fillModel(model, 1);
    const batch = batchOf('kd');
    const shown = COMPAT === '' ? teacher.model : build(SMALL);
    shown.loadStateDict(teacher.model.stateDict());
    const expected = jsdivLoss(logits(model, batch.images), logits(shown, batch.images)).item();
    assert.equal(model.losses(batch).loss_jsdiv.item(), expected);
    return expected;
  });
  assert.notEqual(values[0], values[1]);
});

test('teachers move and convert with the student', async () => {
  const teacher = await writeTeacher('moving', 1.5);
  const model = build({ ...DISTILLER, ...EMA, ...taughtBy(teacher) });
  fillModel(model, 1);
  const single = Number(model.train().losses(batchOf('kd')).loss_jsdiv.item());
  for (const converted of [model, build({ ...DISTILLER, ...EMA, ...taughtBy(teacher) })]) {
    fillModel(converted, 1);
    const losses = converted.to(torch.float64).losses(batchOf('kd'));
    assert.equal(losses.loss_jsdiv.dtype, torch.float64);
    assert.ok(Math.abs(Number(losses.loss_jsdiv.item()) / single - 1) < 1e-3);
  }
  const state = model.extraState().ema_teacher.stateDict() as Map<string, torch.Tensor>;
  assert.equal(state.get('backbone.conv1.weight')?.dtype, torch.float64);
});

test('its state restored, the moving average goes on where it was; without any, it begins anew', () => {
  const first = build({ ...DISTILLER, ...EMA });
  const optimizer = new torch.optim.SGD(
    [...first.parameters()].filter((p) => p.requiresGrad),
    { lr: 0.5 },
  );
  first.losses(batchOf('a')).loss_cls.backward();
  optimizer.step();
  const second = build({ ...DISTILLER, ...EMA });
  second.loadStateDict(first.stateDict());
  second.extraState().ema_teacher.loadStateDict(first.extraState().ema_teacher.stateDict() as never);
  const [a, b] = [first, second].map((m) => m.losses(batchOf('b')).loss_jsdiv.item());
  assert.equal(a, b);
  assert.ok(Number(a) > 1e-5);
  const anew = build({ ...DISTILLER, ...EMA });
  anew.loadStateDict(first.stateDict());
  assert.ok(Math.abs(Number(anew.losses(batchOf('b')).loss_jsdiv.item())) < 1e-5);
});

test('a configuration written by hand may leave the number of identities to the student', async () => {
  const teacher = await writeTeacher('written', 1.5);
  const config = join(folder, 'by-hand.yaml');
  writeFileSync(
    config,
    referenceCfg({ ...SMALL, 'MODEL.HEADS.NUM_CLASSES': 0, 'MODEL.DEVICE': 'cuda' }).dump(),
  );
  build({ ...DISTILLER, ...taughtBy({ ...teacher, config }) }).losses(batchOf('kd'));
});

test('weights of other architectures’ making load: what a Baseline lacks is left', async () => {
  const made = await writeTeacher('memory', 1, { 'MODEL.META_ARCHITECTURE': 'MoCo', 'MODEL.QUEUE_SIZE': 4 });
  build({ ...DISTILLER, ...taughtBy(made) }).losses(batchOf('kd'));
});

test('what is wrong with a teacher is said by key and file', async () => {
  const good = await writeTeacher('good', 1);
  const other = await writeTeacher('other', 1, { 'MODEL.HEADS.NUM_CLASSES': 7 });
  const wide = await writeTeacher('wide', 1, { 'MODEL.HEADS.EMBEDDING_DIM': 32 });
  const empty = join(folder, 'empty.pth');
  await torch.save(new Map([['epoch', 3]]), empty);
  const fails = (options: Options, pattern: RegExp) =>
    assert.throws(
      () => build({ ...DISTILLER, ...options }).prepareTraining(),
      (error: Error) => pattern.test(error.message) || assert.fail(error.message),
    );
  fails({ 'KD.MODEL_CONFIG': [good.config] }, /MODEL_CONFIG names 1 teachers and KD.MODEL_WEIGHTS 0; each/);
  fails(
    taughtBy({ ...good, config: 'no.yaml' }),
    /KD.MODEL_CONFIG\[0\] names no.yaml, but there is no file \//,
  );
  fails(taughtBy(good, { ...good, weights: 'no.pth' }), /KD.MODEL_WEIGHTS\[1\] names no.pth, but there is/);
  fails(taughtBy({ ...good, weights: '' }), /KD.MODEL_WEIGHTS\[0\] is empty/);
  fails(taughtBy({ ...good, weights: empty }), /KD.MODEL_WEIGHTS\[0\]: .*empty.pth holds no state dict/);
  fails(taughtBy(other), /KD.MODEL_CONFIG\[0\] \(.*other.yaml\): .* 7 identities apart, the student 5/);
  fails(
    taughtBy({ config: wide.config, weights: good.weights }),
    /MODEL_WEIGHTS\[0\] \(.*good.pth\) does not fit .*MODEL_CONFIG\[0\] \(.*wide.yaml\):\n.*bottleneck.1.* missing/s,
  );
  fails(
    taughtBy({ config: good.config, weights: other.weights }),
    /heads.weight is \[5,16\], in the file \[7,16\]/,
  );
  fails({}, /a Distiller needs a teacher: .*KD.EMA.ENABLED True/);
  fails({ 'KD.EMA.ENABLED': true, 'KD.EMA.MOMENTUM': 1.5 }, /KD.EMA.MOMENTUM is 1.5/);
  assert.throws(() => new MovingAverage(build(SMALL), Number.NaN), /MOMENTUM is NaN/);
});

test('the class is exported for projects that add a term of their own', async () => {
  class Louder extends Distiller {
    protected override lossTerms(...args: Parameters<Distiller['lossTerms']>) {
      const losses = super.lossTerms(...args);
      return { ...losses, loss_jsdiv: losses.loss_jsdiv.mul(2) };
    }
  }
  const model = new Louder(Distiller.fromConfig(referenceCfg({ ...DISTILLER, ...EMA }), silent));
  assert.ok('loss_jsdiv' in model.losses(batchOf('kd')));
});
