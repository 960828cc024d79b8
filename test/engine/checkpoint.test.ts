import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Checkpointer } from '../../src/engine/checkpoint.js';
import { plain } from '../../src/engine/training-state.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath, pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';

setQuiet(true);
const folder = mkdtempSync(join(tmpdir(), 'reid-checkpoint-'));
after(() => rmSync(folder, { recursive: true, force: true }));

class Net extends torch.nn.Module {
  readonly body = new torch.nn.Linear(3, 4);
  readonly heads: torch.nn.Linear;

  constructor(classes: number) {
    super();
    this.heads = new torch.nn.Linear(4, classes, { bias: false });
  }

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.heads.call(this.body.call(x));
  }
}

const bytes = (t: torch.Tensor): string =>
  Buffer.from((t.toTypedArray() as Uint8Array).buffer).toString('hex');

test('model, other parts and extra values come back; the pointer names the file', async () => {
  const dir = join(folder, 'round');
  const model = new Net(5);
  const optimizer = new torch.optim.Adam([...model.parameters()], { lr: 0.01 });
  torch.sum(model.call(torch.randn([2, 3]))).backward();
  optimizer.step();
  const saver = new Checkpointer(model, dir, { optimizer });
  assert.equal(saver.hasCheckpoint(), false);
  await saver.save('model_0000', { epoch: 0, metric: torch.pyFloat(12) });
  assert.equal(readFileSync(join(dir, 'last_checkpoint'), 'utf8'), 'model_0000.pth');
  const other = new Net(5);
  const otherOptimizer = new torch.optim.Adam([...other.parameters()], { lr: 0.5 });
  const loader = new Checkpointer(other, dir, { optimizer: otherOptimizer });
  const extra = await loader.resumeOrLoad('', { resume: true });
  assert.deepEqual(
    [...extra].filter(([k]) => k !== 'optimizer'),
    [
      ['epoch', 0],
      ['metric', 12],
    ],
  );
  for (const [key, value] of model.stateDict()) {
    assert.equal(bytes(other.stateDict().get(key) as torch.Tensor), bytes(value), key);
  }
  assert.equal(otherOptimizer.paramGroups[0].lr, 0.01);
  const step = (m: Net, o: torch.optim.Adam): string => {
    o.zeroGrad();
    torch.sum(m.call(torch.ones([2, 3]))).backward();
    o.step();
    return [...m.stateDict().values()].map(bytes).join();
  };
  assert.equal(step(other, otherOptimizer), step(model, optimizer));
});

test('without resume only the weights are loaded', async () => {
  const model = new Net(5);
  const optimizer = new torch.optim.Adam([...model.parameters()], { lr: 0.5 });
  const loader = new Checkpointer(model, join(folder, 'elsewhere'), { optimizer });
  await loader.resumeOrLoad(join(folder, 'round/model_0000.pth'), { resume: true });
  assert.equal(optimizer.paramGroups[0].lr, 0.5);
  assert.equal(loader.lastReport?.loaded.length, 3);
});

test('a classifier of another size is skipped and reported', async () => {
  const loader = new Checkpointer(new Net(9));
  await loader.load(join(folder, 'round/model_0000.pth'));
  assert.deepEqual(loader.lastReport?.mismatched, [{ key: 'heads.weight', expected: [9, 4], found: [5, 4] }]);
  assert.deepEqual(loader.lastReport?.loaded, ['body.weight', 'body.bias']);
});

test('bare state dicts, safetensors, and names with module. in front load too', async () => {
  const model = new Net(5);
  const bare = join(folder, 'bare.pth');
  await torch.save(model.stateDict(), bare);
  const prefixed = join(folder, 'prefixed.pth');
  const renamed = new Map([...model.stateDict()].map(([k, v]) => [`module.${k}`, v]));
  await torch.save(new Map([['model', renamed]]), prefixed);
  const tensors = join(folder, 'weights.safetensors');
  torch.saveSafetensors(model.stateDict(), tensors);
  for (const path of [bare, prefixed, tensors]) {
    const loader = new Checkpointer(new Net(5));
    await loader.load(path);
    assert.equal(loader.lastReport?.loaded.length, 3, path);
  }
});

test('what is wrong with a file is said', async () => {
  const loader = new Checkpointer(new Net(5));
  await assert.rejects(loader.load(join(folder, 'lost.pth')), /lost.pth does not exist \(MODEL.WEIGHTS\)/);
  const list = join(folder, 'list.pth');
  await torch.save([1, 2], list);
  await assert.rejects(loader.load(list), /is not a checkpoint: it does not hold a dict/);
  const odd = join(folder, 'odd.pth');
  await torch.save(new Map([['model', new Map([['w', 3]])]]), odd);
  await assert.rejects(loader.load(odd), /'w' of its state dict is not a tensor/);
  const foreign = join(folder, 'foreign.pth');
  await torch.save(new Map([['x', torch.zeros([1])]]), foreign);
  await assert.rejects(loader.load(foreign), /nothing in .*foreign.pth fits this model/);
});

test('a pointer to a lost file says how to go on', async () => {
  const dir = mkdtempSync(join(folder, 'lost-'));
  writeFileSync(join(dir, 'last_checkpoint'), 'model_0007.pth');
  const loader = new Checkpointer(new Net(5), dir);
  await assert.rejects(
    loader.resumeOrLoad(''),
    /names .*model_0007.pth, which does not exist; write the name/,
  );
});

test('FastReID’s own checkpoint is read: state dict, optimizer, epoch, metric', async () => {
  const dir = mkdtempSync(join(folder, 'fastreid-'));
  copyFileSync(goldenPath('osnet_x0_25_filled.pth'), join(dir, 'osnet.pth'));
  writeFileSync(join(dir, 'last_checkpoint'), 'osnet.pth');
  let state: Map<string, torch.Tensor> = new Map();
  let optimizerState: unknown;
  const model = {
    stateDict: () => state,
    loadStateDict: (loaded: Map<string, torch.Tensor>) => {
      state = loaded;
      return { loaded: [...loaded.keys()], missing: [], unexpected: [], mismatched: [] };
    },
  };
  const optimizer = {
    stateDict: () => null,
    loadStateDict: (loaded: unknown) => {
      optimizerState = plain(loaded);
    },
  };
  const extra = await new Checkpointer(model, dir, { optimizer }).resumeOrLoad('');
  assert.equal(state.size, 564);
  assert.deepEqual(
    [...extra],
    [
      ['epoch', 3],
      ['metric', 12.5],
    ],
  );
  assert.deepEqual(Object.keys(optimizerState as object).sort(), ['param_groups', 'state']);
});

test('Python reads our checkpoints', { skip: pythonTorch() ? false : pythonTorchMissing }, async () => {
  const { command, env } = pythonTorch() as NonNullable<ReturnType<typeof pythonTorch>>;
  const script = `
import sys, torch
c = torch.load(sys.argv[1])
assert list(c) == ['model', 'optimizer', 'epoch', 'metric'], list(c)
assert type(c['epoch']) is int and type(c['metric']) is float
m = torch.nn.ModuleDict({'body': torch.nn.Linear(3, 4), 'heads': torch.nn.Linear(4, 5, bias=False)})
m.load_state_dict(c['model'])
torch.optim.Adam(m.parameters()).load_state_dict(c['optimizer'])
print('read')
`;
  const child = spawn(command, ['-c', script, join(folder, 'round/model_0000.pth')], { env });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  await new Promise((done) => child.on('close', done));
  assert.equal(output.trim(), 'read');
});

test('killed while saving: the pointer names a complete file', async () => {
  const program = join(repoRoot, 'dist/test/engine/endless-save.js');
  const dir = join(folder, 'killed');
  for (let round = 0; round < 4; round++) {
    const child = spawn(process.execPath, [program, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((done) => child.stdout.once('data', done));
    await sleep(20 + 35 * round);
    const closed = new Promise((done) => child.on('close', done));
    child.kill('SIGKILL');
    await closed;
    const last = new Checkpointer(new Net(2), dir).getCheckpointFile();
    const content = (await torch.load(last)) as Map<string, Map<string, torch.Tensor>>;
    const big = content.get('model')?.get('big') as torch.Tensor;
    // Every element holds the number of the save.
    assert.equal(Number(big.min().item()), Number(big.max().item()));
  }
  // What was being written is neither taken for a checkpoint nor left for ever.
  writeFileSync(join(dir, '.model_0.pth.999999999-0123abcd.tmp'), 'part');
  await new Checkpointer(new Net(2), dir).save('model_9');
  assert.deepEqual(
    readdirSync(dir).filter((f) => !/^(model_\d\.pth|last_checkpoint)$/.test(f)),
    [],
  );
});
