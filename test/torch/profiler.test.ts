import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { skipWithout } from '../support/devices.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

const { nn } = torch;
torch.setNumThreads(1);

const net = () =>
  new nn.Sequential(new nn.Conv2d(1, 2, 3), new nn.ReLU({ inplace: true }), new nn.Conv2d(2, 2, 1));
const image = torch.ones([1, 1, 8, 8]);
const gradient = torch.ones([1, 2, 6, 6]);
const step = (model: torch.nn.Module): void => torch.scope(() => model.call(image).backward(gradient));

const PROGRAM = `
import json, torch
from torch import nn
torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
image = torch.ones(1, 1, 8, 8)
gradient = torch.ones(1, 2, 6, 6)
with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as p:
    net(image).backward(gradient)
print(json.dumps({e.key: [e.count, e.self_cpu_memory_usage] for e in p.key_averages()}))
`;

test('the same operators as often, with the same memory, as in the profiler of PyTorch', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const expected = runPython<Record<string, [number, number]>>(PROGRAM);
  const model = net();
  const { profile } = torch.profile(() => step(model));
  const rows = new Map(profile.table().map((row) => [row.name, row]));
  const names = Object.keys(expected).filter((name) => /^aten::|Backward0$|AccumulateGrad$/.test(name));
  assert.ok(names.includes('aten::convolution_backward') && names.includes('ReluBackward0'));
  for (const name of names) {
    const [count, memory] = expected[name]!;
    assert.equal(rows.get(name)?.calls, count, name);
    // The size of what is let go depends on what the caller still holds.
    if (memory > 0) assert.equal(rows.get(name)?.selfMemory, memory, name);
  }
  for (const name of rows.keys()) assert.ok(name in expected, `${name} is not in Python's`);
});

for (const mode of ['auto', 'queue'] as const) {
  test(`events are a tree, and modules are named, forward and backward (${mode})`, () => {
    torch.autograd.setBackwardMode(mode);
    try {
      const model = net();
      const handle = torch.nameModules(model);
      const { profile } = torch.profile(() => step(model));
      handle.remove();
      for (const event of profile.events) {
        const inside = event.children.reduce((sum, child) => sum + child.duration, 0);
        assert.ok(Math.abs(event.self + inside - event.duration) < 1e-6);
        for (const child of event.children) {
          assert.equal(child.parent, event);
          assert.ok(
            child.start >= event.start && child.start + child.duration <= event.start + event.duration,
          );
        }
      }
      const convolutions = profile.events.filter(({ name }) => name === 'aten::conv2d');
      assert.deepEqual(
        convolutions.map(({ parent }) => parent?.name),
        ['module 0', 'module 2'],
      );
      const modules = profile.modules();
      assert.deepEqual(
        modules.map(({ path, calls }) => [path, calls]),
        [
          ['(model)', 1],
          ['0', 1],
          ['1', 1],
          ['2', 1],
        ],
      );
      const [whole, ...parts] = modules;
      const sum = (of: (part: torch.ModuleTimes) => number): number =>
        parts.reduce((total, part) => total + of(part), 0);
      assert.ok(Math.abs(whole!.selfForward + sum(({ forward }) => forward) - whole!.forward) < 1e-6);
      for (const { path, backward } of parts) assert.ok(backward > 0, path);
      assert.ok(Math.abs(whole!.backward - sum(({ backward }) => backward)) < 1e-6);
    } finally {
      torch.autograd.setBackwardMode('auto');
    }
  });
}

test('memory goes to the operator at work', () => {
  const x = torch.ones([256]);
  const { profile, result } = torch.profile(() => torch.recordRange('mine', () => torch.cat([x, x])));
  const bytes = 512 * 4;
  assert.equal(result.numel() * 4, bytes);
  const range = profile.events.find(({ kind }) => kind === 'range');
  assert.deepEqual([range?.name, range?.memory, range?.selfMemory], ['mine', bytes, 0]);
  assert.equal(profile.table().find(({ name }) => name === 'aten::cat')?.memory, bytes);
  assert.ok(profile.range('mine') > 0 && profile.range('other') === 0);
  const without = torch.profile(() => torch.cat([x, x]), { memory: false }).profile;
  assert.ok(without.events.every(({ memory }) => memory === 0));
});

test('the trace is JSON that holds operators and ranges; nothing else is left in the folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-profile-'));
  try {
    const model = net();
    using _names = torch.nameModules(model, 'net');
    torch.profile(() => step(model), { trace: join(folder, 'trace.json'), shapes: true });
    assert.deepEqual(readdirSync(folder), ['trace.json']);
    const { traceEvents } = JSON.parse(readFileSync(join(folder, 'trace.json'), 'utf8')) as {
      traceEvents: { name: string; args?: Record<string, unknown> }[];
    };
    const named = (name: string) => traceEvents.find((event) => event.name === name);
    assert.ok(named('module net') && named('module 2') && named('aten::convolution_backward'));
    assert.deepEqual((named('aten::conv2d')!.args!['Input Dims'] as unknown[])[0], [1, 1, 8, 8]);
    assert.throws(
      () => torch.profile(() => 1, { trace: join(folder, 'no/such/trace.json') }),
      /cannot write the trace .*trace\.json: ENOENT/,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('one recording at a time; an error ends it', () => {
  assert.throws(() => torch.stopProfiler(), /no profile is being recorded/);
  torch.startProfiler();
  assert.throws(() => torch.startProfiler(), /is being recorded already/);
  torch.stopProfiler();
  const fail = (): never => {
    throw new Error('mine');
  };
  assert.throws(() => torch.profile(fail), /mine/);
  const { profile } = torch.profile(() => torch.ones([1]));
  assert.ok(profile.events.length > 0);
});

test('a module that fails leaves no range open', () => {
  class Failing extends nn.Module {
    protected override forward(): torch.Tensor {
      throw new Error('inside');
    }
  }
  const model = new nn.Sequential(new Failing());
  using _names = torch.nameModules(model);
  const { profile } = torch.profile(() => {
    torch.recordRange('around', () => assert.throws(() => model.call(torch.ones([1])), /inside/));
    torch.recordRange('after', () => torch.ones([1]));
  });
  const after = profile.events.find(({ name }) => name === 'after');
  assert.equal(after?.parent, undefined);
});

test('what a range spans on a device is not counted as a kernel', () => {
  // start, duration (ns), thread, scope, bytes, device, sequence, thread of the forward, annotation
  const range = [0, 9000, 1, 7, 0, 0, -1, 0, 1];
  const onDevice = [2000, 6000, 7, 7, 0, 1, -1, 0, 1];
  const kernels = [2000, 5000].map((start) => [start, 3000, 7, 0, 0, 1, -1, 0, 0]);
  const names = ['mine', 'mine', 'gemm', 'Memcpy DtoH'];
  const profile = new torch.Profile(names, Float64Array.from([range, onDevice, ...kernels].flat()));
  assert.deepEqual(
    profile.events.map(({ name, kind, duration }) => [name, kind, duration]),
    [
      ['gemm', 'kernel', 3],
      ['Memcpy DtoH', 'kernel', 3],
      ['mine', 'range', 9],
    ],
  );
  assert.equal(profile.range('mine'), 9);
});

test('cuda: kernels that are under way when the recording ends are in it', skipWithout('cuda'), (t) => {
  const x = torch.randn([1024, 1024], { device: 'cuda' });
  const products = 50;
  const { profile } = torch.profile(() =>
    torch.recordRange('mine', () => {
      for (let i = 0; i < products; i++) x.mm(x).dispose();
    }),
  );
  assert.equal(profile.events.filter(({ kind }) => kind === 'range').length, 1);
  const kernels = profile.events.filter(({ kind }) => kind === 'kernel');
  assert.ok(!kernels.some(({ name }) => name === 'mine'));
  if (kernels.length === 0) return t.skip('this device reports no kernels');
  assert.ok(kernels.length >= products, `${kernels.length} kernels`);
});
