import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { storageOf } from '../../src/torch/serialization/memory.js';
import { goldenPath, pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-pth-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const fixture = (name: string): string => join(repoRoot, 'test/serialization/fixtures', name);

const python = pythonTorch();
const needsPython = { skip: python ? false : pythonTorchMissing };

/** Runs Python with torch; `argv` as sys.argv[1:]. Fails the test when it fails. */
function runPython(code: string, ...argv: string[]): string {
  const { command, env } = python!;
  const result = spawnSync(command, ['-c', code, ...argv], { env, encoding: 'utf8' });
  assert.equal(result.status, 0, result.stderr);
  return result.stdout;
}

type Dict = Map<string, unknown>;
const tensorOf = (dict: unknown, key: string): torch.Tensor => (dict as Map<string, torch.Tensor>).get(key)!;

for (const name of ['zip.pth', 'legacy.pth']) {
  test(`reads every dtype, view and value of ${name}`, async () => {
    const path = fixture(name);
    for (const content of [(await torch.load(path)) as Dict, torch.loadSync(path) as Dict]) {
      const model = content.get('model') as Dict;
      assert.ok(model instanceof torch.OrderedDict);
      const weight = tensorOf(model, 'weight');
      assert.deepEqual(weight.toArray(), [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
      ]);
      assert.deepEqual(tensorOf(model, 'row').toArray(), [4, 5, 6, 7]);
      assert.deepEqual(tensorOf(model, 'column').toArray(), [2, 6, 10]);
      assert.deepEqual(tensorOf(model, 'transposed').strides, [1, 4]);
      // Views still share memory.
      weight.mul_(2);
      assert.deepEqual(tensorOf(model, 'row').toArray(), [8, 10, 12, 14]);
      for (const dtype of ['float64', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8']) {
        assert.equal(tensorOf(model, dtype).dtype.name, dtype);
        assert.deepEqual(tensorOf(model, dtype).toArray(), [0, 1, 3], dtype);
      }
      assert.deepEqual(tensorOf(model, 'bool').toArray(), [false, true, true]);
      if (name === 'zip.pth') assert.deepEqual(tensorOf(model, 'uint16').toArray(), [0, 1, 3]);
      const parameter = tensorOf(model, 'parameter');
      assert.ok(parameter instanceof torch.nn.Parameter);
      assert.ok(parameter.requiresGrad);
      assert.equal(tensorOf(model, 'scalar').item(), 2.5);
      assert.deepEqual(tensorOf(model, 'empty').shape, [0, 3]);
      assert.deepEqual(content.get('size'), new torch.PyTuple(3, 4));
      assert.equal(content.get('dtype'), torch.bfloat16);
      assert.equal(String(content.get('device')), 'cuda:1');
      assert.deepEqual(content.get('nested'), [
        new Map<string, unknown>([
          ['lr', 1],
          ['betas', new torch.PyTuple(0.9, 0.999)],
        ]),
        null,
        new Uint8Array([0, 255]),
      ]);
    }
  });
}

test("reads a checkpoint that FastReID's checkpointer wrote", async () => {
  const facts = JSON.parse(readFileSync(goldenPath('checkpoint.json'), 'utf8')) as {
    top_level_keys: string[];
    model_keys: number;
    optimizer_keys: string[];
  };
  const content = (await torch.load(goldenPath('osnet_x0_25_filled.pth'))) as Dict;
  assert.deepEqual([...content.keys()], facts.top_level_keys);
  const model = content.get('model') as torch.OrderedDict<string, torch.Tensor>;
  assert.equal(model.size, facts.model_keys);
  assert.deepEqual([...(content.get('optimizer') as Dict).keys()], facts.optimizer_keys);
  assert.equal(content.get('epoch'), 3);
  assert.equal(content.get('metric'), 12.5);
  // The filling rule of the reference data: a one-dimensional weight is 1 + 0.25 v.
  const name = 'backbone.conv1.bn.weight';
  const values = model.get(name)!.toArray() as number[];
  values.forEach((value, i) => {
    assert.equal(value, Math.fround(1 + 0.25 * hash(name, i)));
  });
  assert.ok(model.attributes?.has('_metadata'));
});

/** Element `i` of the reference data's counter hash, in [-1, 1). */
function hash(name: string, i: number): number {
  let seed = 2166136261;
  for (const byte of Buffer.from(name)) seed = Math.imul(seed ^ byte, 16777619);
  let x = (seed + Math.imul(i + 1, 0x9e3779b9)) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  x = (x ^ (x >>> 16)) >>> 0;
  return (2 * x) / 2 ** 32 - 1;
}

test('what was read and is saved again is the same, types included', needsPython, () => {
  const sources = [goldenPath('osnet_x0_25_filled.pth'), fixture('zip.pth'), fixture('legacy.pth')];
  const pairs = sources.flatMap((source, i) => {
    const again = join(folder, `again${i}.pth`);
    torch.saveSync(torch.loadSync(source, { keepFloats: true }), again);
    return [source, again];
  });
  runPython(
    `
import sys, torch
def same(a, b, at):
    # A torch.Size comes back as a tuple.
    assert type(a) is type(b) or isinstance(a, tuple), (at, type(a), type(b))
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.requires_grad == b.requires_grad and a.stride() == b.stride(), at
        assert torch.equal(a, b), at
    elif isinstance(a, dict):
        assert list(a) == list(b), at
        for k in a: same(a[k], b[k], at + [k])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b)): same(x, y, at + [i])
    else: assert a == b, at
def memories(state): return len({t.untyped_storage().data_ptr() for t in state.values()})
for files in zip(sys.argv[1::2], sys.argv[2::2]):
    a, b = (torch.load(f, weights_only=True) for f in files)
    same(a, b, [])
    assert getattr(a['model'], '_metadata', None) == getattr(b['model'], '_metadata', None)
    assert memories(a['model']) == memories(b['model'])
`,
    ...pairs,
  );
});

test('Python reads what is saved here, with weights_only, mapped into memory too', needsPython, async () => {
  const path = join(folder, 'types.pth');
  const w = torch.arange(24).to(torch.float32).view([4, 6]);
  const value = {
    w,
    t: w.t(),
    row: w.select(0, 2),
    parameter: new torch.nn.Parameter(torch.ones([3])),
    grad: torch.zeros([2]).requiresGrad_(),
    ints: [0, -1, 255, 256, 70000, 2 ** 40, -(2n ** 70n)],
    floats: [0.5, torch.pyFloat(1), -0, Number.NaN],
    tuple: new torch.PyTuple(1, [2], new torch.PyTuple()),
    set: new Set(['a', 1]),
    bytes: new Uint8Array([1, 200]),
    none: null,
    undefined: undefined,
    map: new Map<unknown, unknown>([
      [0, { step: 1 }],
      ['é😀', true],
    ]),
    ordered: new torch.OrderedDict([['x', false]]),
    dtype: torch.bfloat16,
    device: new torch.Device('cuda', 1),
    bfloat16: torch.tensor([1.5, -2]).to(torch.bfloat16),
    half: torch.tensor([1.5, -2]).to(torch.float16),
    bool: torch.tensor([true, false]),
    int64: torch.tensor(3n),
    uint16: torch.tensor([1, 65535]).to(torch.uint16),
    empty: torch.empty([0, 3]),
    expanded: torch.ones([1]).expand([1000]),
  };
  await torch.save(value, path);
  runPython(
    `
import collections, math, sys, torch, zipfile
assert zipfile.ZipFile(sys.argv[1]).testzip() is None
for mmap in (False, True):
    c = torch.load(sys.argv[1], weights_only=True, mmap=mmap)
    assert type(c) is dict and 'undefined' not in c
    w = torch.arange(24.).view(4, 6)
    assert torch.equal(c['w'], w) and torch.equal(c['t'], w.t()) and torch.equal(c['row'], w[2])
    assert c['t'].stride() == (1, 6) and c['w'].data_ptr() % 64 == 0
    assert c['w'].data_ptr() == c['t'].data_ptr() == c['row'].data_ptr() - 48
    assert type(c['parameter']) is torch.nn.Parameter and c['parameter'].requires_grad
    assert type(c['grad']) is torch.Tensor and c['grad'].requires_grad and not c['w'].requires_grad
    assert c['ints'] == [0, -1, 255, 256, 70000, 2**40, -(2**70)] and all(type(i) is int for i in c['ints'])
    assert c['floats'][:2] == [0.5, 1.0] and all(type(f) is float for f in c['floats'])
    assert math.copysign(1, c['floats'][2]) == -1 and math.isnan(c['floats'][3])
    assert c['tuple'] == (1, [2], ()) and c['set'] == {'a', 1} and c['bytes'] == b'\\x01\\xc8' and c['none'] is None
    assert c['map'] == {0: {'step': 1}, 'é😀': True}
    assert type(c['ordered']) is collections.OrderedDict and c['ordered'] == {'x': False}
    assert c['dtype'] is torch.bfloat16 and c['device'] == torch.device('cuda:1')
    assert torch.equal(c['bfloat16'], torch.tensor([1.5, -2], dtype=torch.bfloat16))
    assert torch.equal(c['half'], torch.tensor([1.5, -2], dtype=torch.half))
    assert torch.equal(c['bool'], torch.tensor([True, False])) and torch.equal(c['int64'], torch.tensor(3))
    assert torch.equal(c['uint16'].int(), torch.tensor([1, 65535]).int())
    assert c['empty'].shape == (0, 3) and c['expanded'].shape == (1000,) and c['expanded'].untyped_storage().nbytes() == 4
`,
    path,
  );
});

test("Python's optimizer goes on from a state saved here, and the other way round", needsPython, async () => {
  const path = join(folder, 'optimizer.pth');
  const back = join(folder, 'optimizer-python.pth');
  const state = new Map([
    [0, { step: torch.tensor(2), exp_avg: torch.ones([2]), exp_avg_sq: torch.ones([2]) }],
  ]);
  const group = {
    lr: 1,
    betas: new torch.PyTuple(0.9, 0.999),
    eps: 1e-8,
    weight_decay: 0,
    amsgrad: false,
    params: [0],
  };
  await torch.save({ state, param_groups: [group] }, path);
  runPython(
    `
import sys, torch
p = torch.nn.Parameter(torch.zeros(2))
adam = torch.optim.Adam([p], lr=0.1)
adam.load_state_dict(torch.load(sys.argv[1], weights_only=True))
p.grad = torch.ones(2)
adam.step()
assert adam.state[p]['step'] == 3 and abs(p[0] + 0.2020) < 1e-3, (adam.state, p)
torch.save(adam.state_dict(), sys.argv[2])
`,
    path,
    back,
  );
  const loaded = (await torch.load(back)) as Dict;
  const entry = (loaded.get('state') as Map<number, Dict>).get(0)!;
  assert.equal(tensorOf(entry, 'step').item(), 3);
  assert.deepEqual((loaded.get('param_groups') as Dict[])[0]!.get('betas'), new torch.PyTuple(0.9, 0.999));
});

test('a slice of a large tensor makes a small file, and views are written once', () => {
  const large = torch.zeros([1000, 1000]);
  const path = join(folder, 'slice.pth');
  torch.saveSync({ rows: large.narrow(0, 500, 2), row: large.select(0, 500) }, path);
  assert.ok(statSync(path).size < 10_000, `${statSync(path).size} bytes`);
  const loaded = torch.loadSync(path);
  assert.equal(storageOf(tensorOf(loaded, 'rows')).key, storageOf(tensorOf(loaded, 'row')).key);
  assert.equal(storageOf(tensorOf(loaded, 'rows')).bytes, 8000);
});

test('memory seen as two dtypes is written as two', () => {
  const path = join(folder, 'reinterpreted.pth');
  const floats = torch.tensor([1, 2]);
  torch.saveSync([floats, floats.view(torch.int32)], path);
  const [a, b] = torch.loadSync(path) as torch.Tensor[];
  assert.deepEqual(a!.toArray(), [1, 2]);
  assert.deepEqual(b!.toArray(), [0x3f800000, 0x40000000]);
});

test('loaded tensors that share memory are apart for autograd, as in PyTorch', () => {
  const path = join(folder, 'lives.pth');
  const base = torch.ones([2]);
  torch.saveSync({ a: base, b: base.view([2, 1]) }, path);
  const loaded = torch.loadSync(path);
  const a = tensorOf(loaded, 'a').requiresGrad_();
  const b = tensorOf(loaded, 'b');
  const loss = a.mul(a).sum();
  // Views of one tensor would share a version, and backward would refuse.
  b.mul_(1);
  loss.backward();
  assert.deepEqual(a.grad!.toArray(), [2, 2]);
  b.dispose();
  assert.deepEqual(a.toArray(), [1, 1]);
});

test('the scope that is open owns what loadSync gives, and not what load gives', async () => {
  const path = fixture('zip.pth');
  let pending: Promise<unknown> | undefined;
  let inside: torch.Tensor | undefined;
  torch.scope(() => {
    pending = torch.load(path);
    inside = tensorOf((torch.loadSync(path) as Dict).get('model'), 'weight');
  });
  assert.ok(inside!.isDisposed);
  const model = ((await pending) as Dict).get('model');
  assert.equal(tensorOf(model, 'weight').numel(), 12);
});

test('programs, whole modules and payloads are refused by name; nothing runs', needsPython, () => {
  const [script, whole, payload, noChecksums, proof] = [
    'script.pt',
    'module.pth',
    'payload.pth',
    'nocrc.pth',
    'proof',
  ].map((name) => join(folder, name)) as [string, string, string, string, string];
  runPython(
    `
import os, sys, torch
torch.jit.script(torch.nn.Linear(2, 2)).save(sys.argv[1])
torch.save(torch.nn.Linear(2, 2), sys.argv[2])
class Payload:
    def __reduce__(self): return (os.system, (f'touch {sys.argv[5]}',))
torch.save({'model': Payload()}, sys.argv[3])
torch.serialization.set_crc32_options(False)
torch.save({'a': torch.arange(3)}, sys.argv[4])
`,
    ...[script, whole, payload, noChecksums, proof],
  );
  assert.throws(() => torch.loadSync(script), /script\.pt: a TorchScript archive.*state_dict/s);
  assert.throws(() => torch.loadSync(whole), /torch\.nn\.modules\.linear\.Linear.*whole module/s);
  assert.throws(() => torch.loadSync(payload), /(posix|os)\.system.*Nothing in a file is executed/s);
  assert.throws(() => statSync(proof), /ENOENT/);
  // PyTorch can be told to leave checksums out.
  assert.deepEqual(tensorOf(torch.loadSync(noChecksums), 'a').toArray(), [0, 1, 2]);
});

test('a flipped bit in a storage is found', () => {
  const path = join(folder, 'flipped.pth');
  torch.saveSync({ a: torch.ones([100]) }, path);
  const bytes = readFileSync(path);
  const at = bytes.indexOf(Buffer.from(new Float32Array(4).fill(1).buffer));
  bytes[at + 1] = (bytes[at + 1] as number) ^ 4;
  writeFileSync(path, bytes);
  assert.throws(() => torch.loadSync(path), /flipped\.pth: storage "0" is damaged: its checksum/);
});
