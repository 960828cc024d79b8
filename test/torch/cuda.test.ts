import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { skipWithout } from '../support/devices.js';

const { cuda } = torch;
const here = cuda.isAvailable();
const without = { skip: here ? 'a CUDA device is here' : false };
const withDevice = skipWithout('cuda');

test('without a device, everything says so and what to do; questions are answered', without, () => {
  const reason = cuda.isBuilt() ? /no CUDA device is here: .*nvidia-smi/ : /npm run setup -- --cuda/;
  assert.equal(cuda.deviceCount(), 0);
  const x = torch.ones([1]);
  const calls: Record<string, () => unknown> = {
    currentDevice: () => cuda.currentDevice(),
    setDevice: () => cuda.setDevice(0),
    withDevice: () => cuda.withDevice('cuda:0', () => 1),
    synchronize: () => cuda.synchronize(),
    properties: () => cuda.getDeviceProperties('cuda:0'),
    bf16: () => cuda.isBf16Supported(),
    memoryStats: () => cuda.memoryStats(),
    memoryInfo: () => cuda.memoryInfo(0),
    resetPeak: () => cuda.resetPeakMemory(),
    emptyCache: () => cuda.emptyCache(),
    stream: () => new cuda.Stream(),
    currentStream: () => cuda.currentStream(),
    defaultStream: () => cuda.defaultStream(0),
    event: () => new cuda.Event(),
    graph: () => new cuda.Graph(),
    graphed: () => cuda.graphed((t) => t, [x]),
  };
  for (const [name, call] of Object.entries(calls)) assert.throws(call, reason, name);
  // libtorch's own words for operators.
  assert.throws(() => x.to('cuda'), /CUDA|cuda|NVIDIA/);
  assert.throws(() => x.pin_memory(), /pin_memory/);
  assert.throws(() => torch.empty([1], { pinMemory: true }), /pin_memory/);
  assert.throws(() => torch.getRngState('cuda'), /CUDA|cuda|NVIDIA/);
});

test('switches of cuDNN and of matrix products are kept, with or without a device', () => {
  const { cudnn } = torch.backends;
  for (const name of ['benchmark', 'deterministic', 'allowTf32'] as const) {
    const before = cudnn[name];
    assert.equal(before, name === 'allowTf32', 'as in PyTorch');
    cudnn[name] = !before;
    assert.equal(cudnn[name], !before);
    cudnn[name] = before;
    assert.equal(cudnn[name], before);
  }
  assert.equal(torch.getFloat32MatmulPrecision(), 'highest');
  for (const precision of ['high', 'medium', 'highest'] as const) {
    torch.setFloat32MatmulPrecision(precision);
    assert.equal(torch.getFloat32MatmulPrecision(), precision);
  }
  assert.throws(
    () => torch.setFloat32MatmulPrecision('low' as never),
    /'highest', 'high' or 'medium', not 'low'/,
  );
});

test('the state of a generator is asked for and set by device', () => {
  const state = torch.getRngState('cpu');
  const first = torch.rand([4]).toArray();
  torch.setRngState(state, 'cpu');
  assert.deepEqual(torch.rand([4]).toArray(), first);
});

test('when memory runs out, the error says who holds it', () => {
  const big = torch.zeros([3, 1024, 1024]);
  const view = big.index(0);
  assert.throws(
    () => torch.empty([2 ** 46]),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'ERR_OUT_OF_MEMORY');
      assert.match(error.message, /aten::empty: .*can't allocate memory/);
      assert.match(error.message, /JavaScript holds \d+ tensors of [\d.]+ MiB on cpu, the largest /);
      assert.match(error.message, /12\.0 MiB Float\[(3, )?1024, 1024\]/);
      return true;
    },
  );
  view.dispose();
  // Other errors stay short.
  assert.throws(
    () => torch.mm(big, big),
    (error: Error) => !error.message.includes('JavaScript holds'),
  );
});

test('devices, memory and peaks', withDevice, () => {
  const { name, capability, totalMemory } = cuda.getDeviceProperties();
  assert.ok(name.length > 0 && capability[0] >= 5 && totalMemory > 2 ** 30);
  assert.throws(() => cuda.getDeviceProperties(99), /there is no device cuda:99/);
  assert.throws(() => cuda.synchronize('cpu'), /a CUDA device is expected/);
  assert.equal(
    cuda.withDevice(0, () => cuda.currentDevice()),
    0,
  );
  cuda.resetPeakMemory();
  const before = cuda.memoryStats().allocatedBytes.now;
  torch.scope(() => void torch.zeros([1024, 1024], { device: 'cuda' }));
  const { allocatedBytes } = cuda.memoryStats();
  assert.equal(allocatedBytes.now, before);
  assert.ok(allocatedBytes.peak >= before + 2 ** 22);
  cuda.emptyCache();
  const { free, total } = cuda.memoryInfo();
  assert.ok(free > 0 && free < total);
});

test('copies from page-locked memory do not wait, and what they read is not overwritten', withDevice, () => {
  const size = [1 << 24];
  const sent = [1, 2, 3, 4].map((value) =>
    torch.scope(() => {
      const source = torch.empty(size, { pinMemory: true }).fill_(value);
      assert.ok(source.is_pinned());
      return source.to({ device: 'cuda', nonBlocking: true });
    }),
  );
  assert.deepEqual(
    sent.map((tensor) => [tensor.min().item(), tensor.max().item()]),
    [1, 2, 3, 4].map((value) => [value, value]),
  );
});

test('streams and events: work waits for work', withDevice, () => {
  const side = new cuda.Stream({ highPriority: true });
  assert.ok(!side.equals(cuda.defaultStream()));
  const [first, last] = [new cuda.Event({ timing: true }), new cuda.Event({ timing: true })];
  const x = torch.ones([512, 512], { device: 'cuda' });
  first.record();
  side.waitStream(cuda.currentStream());
  const y = cuda.withStream(side, () => {
    assert.ok(cuda.currentStream().equals(side));
    return x.mm(x);
  });
  side.recordStream(x);
  cuda.currentStream().waitStream(side);
  last.record();
  last.synchronize();
  assert.ok(last.query() && side.query());
  assert.ok(first.elapsedTime(last) > 0);
  assert.equal(y.index(0, 0).item(), 512);
  const pinned = torch.ones([1024]).pin_memory();
  assert.equal(pinned.is_pinned(), true);
  assert.equal(pinned.to({ device: 'cuda', nonBlocking: true }).sum().item(), 1024);
  last[Symbol.dispose]();
  assert.throws(() => last.query(), /this Event has been released/);
});

test('random numbers by device', withDevice, () => {
  torch.manualSeed(7);
  const state = torch.getRngState('cuda');
  const first = torch.rand([8], { device: 'cuda' }).toArray();
  torch.setRngState(state, 'cuda');
  assert.deepEqual(torch.rand([8], { device: 'cuda' }).toArray(), first);
});

test('a graph repeats what was recorded, on new inputs', withDevice, () => {
  const weight = torch.randn([64, 64], { device: 'cuda' });
  const body = (x: torch.Tensor): torch.Tensor => x.mm(weight).relu();
  const run = cuda.graphed(body, [torch.zeros([8, 64], { device: 'cuda' })]);
  for (let i = 0; i < 3; i++) {
    const x = torch.randn([8, 64], { device: 'cuda' });
    assert.deepEqual(run(x).toArray(), body(x).toArray());
  }
  assert.throws(() => run(torch.zeros([4, 64], { device: 'cuda' })), /a graph repeats one shape/);
  const graph = new cuda.Graph();
  assert.throws(() => graph.replay(), /nothing recorded/);
  assert.throws(() => graph.capture(() => weight.sum().item()));
  assert.throws(() => graph.capture(() => 1), /captured once/);
  assert.equal(weight.isfinite().all().item(), true);
});

test('a graph is not recorded within autocast, nor without a call before', withDevice, () => {
  const layer = new torch.nn.Linear(4, 4).to('cuda');
  const samples = [torch.zeros([2, 4], { device: 'cuda' })];
  const body = (x: torch.Tensor): torch.Tensor => layer.call(x);
  const inAutocast = <T>(cacheEnabled: boolean, run: () => T): T =>
    torch.autocast('cuda', { dtype: torch.bfloat16, cacheEnabled }, run);
  const refused = /cannot be recorded within autocast.*call autocast in the recorded function/;
  assert.throws(() => inAutocast(true, () => cuda.graphed(body, samples)), refused);
  assert.throws(() => inAutocast(true, () => new cuda.Graph().capture(() => body(samples[0]))), refused);
  for (const run of [
    inAutocast(false, () => cuda.graphed(body, samples)),
    cuda.graphed((x) => inAutocast(true, () => body(x)), samples),
  ]) {
    // Weights are cast at each replay.
    for (const value of [1, 2]) {
      torch.noGrad(() => void layer.weight.fill_(value));
      torch.noGrad(() => void layer.bias?.zero_());
      assert.deepEqual(
        run(torch.ones([2, 4], { device: 'cuda' }))
          .float()
          .toArray(),
        [Array(4).fill(4 * value), Array(4).fill(4 * value)],
      );
    }
  }
  assert.throws(() => cuda.graphed(body, samples, { warmup: 0 }), /graphed: warmup is 0; it must be a whole/);
  assert.throws(() => cuda.graphed(body, [torch.zeros([2, 4])]), /a CUDA device is expected/);
});

test('a graph is recorded on the device of its samples', skipWithout('cuda', 2), () => {
  const weight = torch.full([4, 4], 2, { device: 'cuda:1' });
  const run = cuda.graphed(
    (x) => x.mm(weight).add(torch.ones([], { device: 'cuda' })),
    [torch.zeros([1, 4], { device: 'cuda:1' })],
  );
  for (const value of [1, 3]) {
    const found = run(torch.full([1, 4], value, { device: 'cuda:0' }));
    assert.deepEqual([String(found.device), found.toArray()], ['cuda:1', [Array(4).fill(8 * value + 1)]]);
  }
  const mixed = ['cuda:0', 'cuda:1'].map((device) => torch.zeros([1], { device }));
  assert.throws(() => cuda.graphed((x, y) => x.add(y), mixed), /samples are on cuda:0 and cuda:1/);
});

test('memory of a device that runs out', withDevice, () => {
  assert.throws(() => torch.empty([2 ** 46], { device: 'cuda' }), { code: 'ERR_OUT_OF_MEMORY' });
});

test('page-locked memory that is given up in a recording is released after it', withDevice, () => {
  const pinned = torch.ones([1 << 16]).pin_memory();
  // All streams there are, so that one of them is the recording's.
  for (let i = 0; i < 32; i++) {
    cuda.withStream(new cuda.Stream(), () => pinned.to({ device: 'cuda', nonBlocking: true }));
  }
  cuda.synchronize();
  const weight = torch.ones([4, 4], { device: 'cuda' });
  const graph = new cuda.Graph();
  const result = graph.capture(() => {
    pinned.dispose();
    assert.throws(() => pinned.item(), /released/);
    assert.throws(() => graph[Symbol.dispose](), /cannot be released while it records/);
    return weight.mm(weight);
  });
  graph.replay();
  assert.equal(result.sum().item(), 64);
  for (let i = 0; i < 4; i++) assert.ok(torch.empty([1 << 16], { pinMemory: true }).is_pinned());
});

test('`cuda` is the current device', skipWithout('cuda', 2), () => {
  const x = torch.ones([2], { device: 'cuda:0' });
  assert.equal(x.to('cuda'), x);
  cuda.withDevice(1, () => {
    const moved = x.to('cuda');
    assert.equal(String(moved.device), 'cuda:1');
    assert.equal(moved.to('cuda'), moved);
    assert.deepEqual(moved.toArray(), [1, 1]);
  });
});
