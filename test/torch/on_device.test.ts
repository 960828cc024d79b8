import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { FunctionContext } from '../../src/torch/autograd.js';
import * as torch from '../../src/torch/index.js';
import { DEVICES, skipWithout } from '../support/devices.js';
import { repoRoot } from '../support/paths.js';

const { nn } = torch;
torch.setNumThreads(1);

/** Called in the backward pass of `Cube`. */
let inBackward = (): void => undefined;

class Cube extends torch.autograd.Function {
  static forward(context: FunctionContext, x: torch.Tensor): torch.Tensor {
    context.saveForBackward(x);
    return x.pow(3);
  }
  static backward(context: FunctionContext, grad: torch.Tensor): torch.Tensor {
    inBackward();
    const [x] = context.savedTensors;
    return grad.mul((x as torch.Tensor).pow(2).mul(3));
  }
}

/** Runs a program of JavaScript that imports the library as `torch`, with the device as `device`. */
function child(device: string, program: string) {
  const library = JSON.stringify(join(repoRoot, 'dist/src/torch/index.js'));
  const text = `import * as torch from ${library};\nconst device = '${device}';\n${program}`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', text], {
    encoding: 'utf8',
    timeout: 120_000,
    // The simulated device writes all memory that it gives.
    env: { SIM_MEMORY_MIB: '1024', ...process.env },
  });
}

for (const device of DEVICES) {
  const options = skipWithout(device);

  test(`${device}: hooks are called in backward, wherever it runs`, options, () => {
    torch.manualSeed(0);
    const model = new nn.Sequential(new nn.Linear(4, 8), new nn.ReLU(), new nn.Linear(8, 1)).to(device);
    const seen: string[] = [];
    const [first] = [...model.children()];
    first.registerFullBackwardHook((_module, _gradIn, [gradOut]) => {
      seen.push(`module ${(gradOut as torch.Tensor).shape}`);
    });
    const weight = [...model.parameters()][2];
    weight.registerHook((grad) => {
      seen.push(`tensor ${grad.device.type}`);
      return grad.mul(2);
    });
    inBackward = () => void seen.push('function');
    const cube = (x: torch.Tensor): torch.Tensor => Cube.apply(x) as torch.Tensor;
    const x = torch.randn([5, 4], { device });
    const run = (): void => cube(model.call(x)).sum().backward();
    if (device === 'cuda') torch.cuda.withStream(new torch.cuda.Stream(), run);
    else run();
    assert.deepEqual(seen.sort(), ['function', 'module 5,8', `tensor ${device}`]);
    const doubled = (weight.grad as torch.Tensor).clone();
    const y = model.call(x);
    const expected = torch.autograd.grad([y.pow(3).sum()], [weight])[0] as torch.Tensor;
    // The hook doubles what grad() gives as well.
    assert.ok(
      (doubled.sub(expected).abs().max().item() as number) <= 1e-5 * (doubled.abs().max().item() as number),
    );
  });

  test(`${device}: an error in a hook ends backward, and the next one works`, options, () => {
    const w = torch.ones([2], { device }).requiresGrad_();
    const handle = w.registerHook(() => {
      throw new RangeError('from a hook');
    });
    assert.throws(() => w.sum().backward(), RangeError);
    handle.remove();
    w.sum().backward();
    assert.deepEqual((w.grad as torch.Tensor).toArray(), [1, 1]);
  });

  test(`${device}: backward inside hooks and custom functions, as deep as one likes`, options, () => {
    const { signal, stdout, stderr } = child(
      device,
      `if (device === 'cpu') torch.autograd.setBackwardMode('queue');
       const leaf = (on = device) => torch.ones([2], { device: on }).requiresGrad_();
       const results = {};
       class Checkpoint extends torch.autograd.Function {
         static forward(context, x) {
           context.saveForBackward(x);
           return x.pow(2);
         }
         static backward(context, grad) {
           const inner = context.savedTensors[0].detach().requiresGrad_();
           const y = torch.enableGrad(() => inner.pow(2));
           return torch.autograd.grad(y, inner, { gradOutputs: grad.mul(3) })[0];
         }
       }
       const x = leaf();
       Checkpoint.apply(Checkpoint.apply(x)).sum().backward();
       results.checkpoint = x.grad.toArray();

       // The gradient is 1 - 2^-(depth + 1).
       const nested = (x, depth, bottom) => {
         const y = x.mul(0.5);
         y.registerHook((grad) => {
           if (depth === 0) return bottom?.();
           const inner = leaf();
           torch.enableGrad(() => nested(inner, depth - 1, bottom)).backward();
           return grad.add(inner.grad);
         });
         return y.sum();
       };
       results.deep = [1, 3, 70].map((depth) => {
         const x = leaf();
         nested(x, depth).backward();
         return x.grad.toArray()[0];
       });

       const error = new RangeError('at the bottom');
       try {
         nested(leaf(), 3, () => { throw error; }).backward();
       } catch (caught) {
         results.same = caught === error;
       }

       // Hooks on the CPU and on the device in one graph.
       const both = leaf('cpu');
       const inHook = (grad) => {
         const inner = leaf();
         torch.enableGrad(() => nested(inner, 2)).backward();
         return grad.add(inner.grad.to(grad.device));
       };
       const pieces = Array.from({ length: 8 }, () => {
         const here = both.mul(1);
         here.registerHook(inHook);
         const there = here.to(device).mul(1);
         there.registerHook(inHook);
         return there.sum().cpu();
       });
       torch.stack(pieces).sum().backward();
       results.both = both.grad.toArray();
       process.stdout.write(JSON.stringify(results));`,
    );
    assert.deepEqual([signal, stderr], [null, '']);
    assert.deepEqual(JSON.parse(stdout), {
      checkpoint: [36, 36],
      deep: [0.75, 0.9375, 1],
      same: true,
      both: [22, 22],
    });
  });

  test(`${device}: float16 under autocast learns with a GradScaler`, options, () => {
    torch.manualSeed(1);
    const model = new nn.Sequential(new nn.Linear(8, 32), new nn.ReLU(), new nn.Linear(32, 4)).to(device);
    const optimizer = new torch.optim.AdamW(model.parameters(), { lr: 0.02 });
    const scaler = new torch.amp.GradScaler();
    const x = torch.randn([64, 8], { device });
    const y = x.narrow(1, 0, 4).argmax(1);
    const losses = Array.from({ length: 60 }, () =>
      torch.scope(() => {
        optimizer.zeroGrad();
        const loss = torch.autocast(device, { dtype: torch.float16 }, () => {
          const logits = model.call(x);
          assert.equal(logits.dtype, torch.float16);
          return torch.cross_entropy_loss(logits.to(torch.float32), y);
        });
        scaler.scale(loss).backward();
        scaler.step(optimizer);
        scaler.update();
        return Number(loss.item());
      }),
    );
    assert.ok(losses[59] < 0.3 * losses[0], `${losses[0]} → ${losses[59]}`);
    for (const p of model.parameters()) assert.equal(p.dtype, torch.float32);
  });

  test(`${device}: channels_last gives the values of the usual layout`, options, () => {
    torch.manualSeed(2);
    const model = new nn.Sequential(
      new nn.Conv2d(3, 8, 3, { padding: 1 }),
      new nn.BatchNorm2d(8),
      new nn.Conv2d(8, 4, 1),
    ).to(device);
    const x = torch.randn([2, 3, 8, 8], { device });
    const before = torch.backends.cudnn.allowTf32;
    torch.backends.cudnn.allowTf32 = false;
    const run = (): [torch.Tensor, torch.Tensor] => {
      model.zeroGrad();
      const y = model.call(x);
      y.pow(2).sum().backward();
      return [y.detach(), ([...model.parameters()][0].grad as torch.Tensor).clone()];
    };
    const usual = run();
    model.to({ memoryFormat: 'channels_last' });
    const last = run();
    torch.backends.cudnn.allowTf32 = before;
    assert.ok(last[0].is_contiguous('channels_last'));
    for (const [i, tensor] of usual.entries()) {
      const scale = tensor.abs().max().item() as number;
      assert.ok((tensor.sub(last[i]).abs().max().item() as number) <= 1e-4 * scale, String(i));
    }
  });

  test(`${device}: files hold tensors of any device, and are read where one likes`, options, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'on-device-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const x = torch.arange(6, { device, dtype: torch.float32 }).view([2, 3]);
    torch.saveSync({ x, view: x.t() }, join(folder, 'x.pth'));
    const read = (await torch.load(join(folder, 'x.pth'))) as Map<string, torch.Tensor>;
    assert.deepEqual(read.get('view')?.cpu().toArray(), x.t().cpu().toArray());
    await torch.saveSafetensors(new Map([['x', x]]), join(folder, 'x.safetensors'));
    const again = torch.loadSafetensors(join(folder, 'x.safetensors')).get('x') as torch.Tensor;
    assert.deepEqual(again.cpu().toArray(), x.cpu().toArray());
  });

  test(`${device}: tensors that nobody holds are collected before memory is full`, options, () => {
    const stats = () =>
      device === 'cuda' ? torch.cuda.memoryStats().allocatedBytes.peak : torch.memoryStats().peakBytes;
    if (device === 'cuda') torch.cuda.resetPeakMemory();
    else torch.resetPeakMemory();
    const start = stats();
    // 4 GiB in all, no scope, no disposal, no await.
    for (let i = 0; i < 512; i++) torch.zeros([2 ** 21], { device });
    assert.ok(stats() - start < 2 ** 31, `${((stats() - start) / 2 ** 20).toFixed()} MiB at once`);
  });

  test(`${device}: random numbers go on from a state, and a seed starts them anew`, options, () => {
    const draw = (): unknown => torch.randn([5], { device }).cpu().toArray();
    torch.manualSeed(9);
    const first = draw();
    const state = torch.getRngState(device);
    const second = draw();
    torch.setRngState(state, device);
    assert.deepEqual(draw(), second);
    torch.manualSeed(9);
    assert.deepEqual(draw(), first);
    const own = new torch.Generator(device).manualSeed(3);
    const drawn = torch.randn([4], { device, generator: own }).cpu().toArray();
    own.manualSeed(3);
    assert.deepEqual(torch.randn([4], { device, generator: own }).cpu().toArray(), drawn);
  });

  test(`${device}: a process may end while tensors are alive and work is under way`, options, () => {
    const { status, signal, stderr } = child(
      device,
      `globalThis.held = [torch.ones([256, 256], { device })];
       for (let i = 0; i < 50; i++) held.push(held[0].mm(held[0]));
       if (device === 'cuda') {
         held.push(new torch.cuda.Stream(), new torch.cuda.Event({ timing: true }).record());
         held.push(torch.cuda.graphed((x) => x.mul(2), [held[0]]));
       }
       const w = torch.ones([3], { device }).requiresGrad_();
       w.registerHook(() => undefined);
       w.sum().backward();`,
    );
    assert.deepEqual([status, signal, stderr], [0, null, '']);
  });
}

test(
  'cuda: an error of a kernel says that it may be another’s, and the process ends by itself',
  skipWithout('cuda'),
  () => {
    const { status, signal, stdout } = child(
      'cuda',
      `const x = torch.zeros([4], { device });
     const bad = torch.tensor([100n]).to(device);
     try {
       x.index_select(0, bad);
       torch.cuda.synchronize();
     } catch (error) {
       process.stdout.write(error.code + ' ' + error.message);
     }`,
    );
    assert.deepEqual([status, signal], [0, null]);
    assert.match(stdout, /^ERR_CUDA .*CUDA error/);
  },
);

test('cuda: before memory is full, what nobody holds is collected', skipWithout('cuda'), () => {
  // Pieces of which many are garbage before V8 thinks of it, and such of which one is enough.
  for (const [pieces, part] of [
    [40, 1 / 16],
    [4, 0.6],
  ]) {
    const { stdout } = child(
      'cuda',
      `const size = [Math.floor(torch.cuda.memoryInfo().total * ${part})];
       const make = () => torch.empty(size, { device, dtype: torch.uint8 }).narrow(0, 0, 8).fill_(3);
       for (let i = 0; i < ${pieces}; i++) make();
       process.stdout.write(String(make().sum().item()));`,
    );
    assert.equal(stdout, '24', `${pieces} of ${part}`);
  }
});

test('cuda: random numbers may be drawn first in a recording', skipWithout('cuda'), () => {
  const { stdout, stderr } = child(
    'cuda',
    `const graph = new torch.cuda.Graph();
     const drawn = graph.capture(() => torch.rand([4], { device }).keep());
     const replay = () => (graph.replay(), String(drawn.toArray()));
     process.stdout.write(String(new Set([replay(), replay(), replay()]).size));`,
  );
  assert.deepEqual([stdout, stderr], ['3', '']);
});

test('cuda: out of memory names what is held, and the device goes on', skipWithout('cuda'), () => {
  const held = torch.zeros([1024, 1024], { device: 'cuda' });
  assert.throws(
    () => torch.empty([2 ** 44], { device: 'cuda' }),
    (error: Error & { code?: string }) =>
      error.code === 'ERR_OUT_OF_MEMORY' &&
      /JavaScript holds \d+ tensors of .* on cuda:0/.test(error.message),
  );
  assert.equal(held.sum().item(), 0);
});
