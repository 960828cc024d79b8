import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { AutogradProfiler } from '../../src/engine/hooks/index.js';
import { SimpleTrainer } from '../../src/engine/simple-trainer.js';
import * as torch from '../../src/torch/index.js';
import './support.js';

torch.setNumThreads(1);

class Model extends torch.nn.Module {
  readonly layer = new torch.nn.Linear(3, 3);
  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.layer.call(x).relu_().sum();
  }
}

function trainer(): [SimpleTrainer<torch.Tensor>, Model] {
  const model = new Model();
  const optimizer = new torch.optim.SGD([...model.parameters()], { lr: 0.1 });
  return [new SimpleTrainer<torch.Tensor>(model, [torch.ones([2, 3])], optimizer), model];
}

test('chosen iterations are recorded, each with a report and a trace', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-profiler-'));
  try {
    const [train, model] = trainer();
    const reports: string[] = [];
    const when = ({ iter }: { iter: number }) => iter === 1 || iter === 3;
    const hook = new AutogradProfiler({ model, when, folder, report: (text) => reports.push(text) });
    train.registerHooks([hook]);
    await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 });
    assert.deepEqual(readdirSync(folder).sort(), ['profiler-trace-iter1.json', 'profiler-trace-iter3.json']);
    assert.equal(reports.length, 2);
    for (const part of ['data', 'forward', 'backward', 'step', 'iteration', 'start-up']) {
      assert.match(reports[1]!, new RegExp(`^${part} +[\\d.]+ ms`, 'm'));
    }
    assert.match(reports[1]!, /^Profile of iteration 3:/);
    assert.match(reports[1]!, /^layer +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +1$/m);
    assert.match(reports[1]!, /^aten::addmm .* 1 +\S+ \S*B$/m);
    const { forward, backward } = hook.times!;
    const [whole] = hook.profile!.modules();
    assert.ok(whole!.calls === 1 && forward > 0 && backward > 0);
    assert.ok(
      hook.profile!.table().some(({ name }) => name.includes('sgd')),
      'the step is recorded too',
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a step that fails ends the recording', async () => {
  const [train, model] = trainer();
  model.layer.registerForwardHook(() => {
    throw new Error('stop here');
  });
  const when = () => true;
  train.registerHooks([new AutogradProfiler({ model, when, report: () => assert.fail('no report') })]);
  await assert.rejects(train.trainLoop({ maxEpoch: 1, itersPerEpoch: 5 }), /stop here/);
  const { profile } = torch.profile(() => torch.ones([1]));
  assert.deepEqual(profile.modules(), []);
});

test('without a wish, the eleventh iteration is recorded', async () => {
  const [train, model] = trainer();
  const reports: string[] = [];
  train.registerHooks([new AutogradProfiler({ model, report: (text) => reports.push(text) })]);
  await train.trainLoop({ maxEpoch: 1, itersPerEpoch: 12 });
  assert.deepEqual(
    reports.map((text) => text.split('\n')[0]),
    ['Profile of iteration 10:'],
  );
});
