import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

let threads: number;
before(() => {
  threads = torch.getNumThreads();
  torch.setNumThreads(1);
});
after(() => torch.setNumThreads(threads));

const { autocast, isAutocastEnabled, getAutocastDtype, withoutAutocast } = torch.amp;

class Net extends torch.nn.Module {
  readonly conv = new torch.nn.Conv2d(3, 8, 3, { padding: 1 });
  readonly bn = new torch.nn.BatchNorm2d(8);
  readonly fc = new torch.nn.Linear(8, 5);

  protected override forward(x: torch.Tensor): torch.Tensor {
    const map = this.bn.call(this.conv.call(x)).relu();
    const features = torch.adaptive_avg_pool2d(map, [1, 1]).flatten(1);
    // The weight is used twice: once cast, then from the cache.
    return this.fc.call(features).add(torch.linear(features, this.fc.weight));
  }
}

interface Case {
  dtypes: string[];
  logits: number[];
  loss: number;
  grads: Record<string, number[]>;
  stats: number[];
}

const REFERENCE = `
import json, sys, torch
given = json.load(sys.stdin)
torch.set_num_threads(1)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Linear(8, 5)
    def forward(self, x):
        m = self.bn(self.conv(x)).relu()
        f = torch.nn.functional.adaptive_avg_pool2d(m, (1, 1)).flatten(1)
        return self.fc(f) + torch.nn.functional.linear(f, self.fc.weight)
result = []
for dtype in given:
    torch.manual_seed(5)
    net = Net()
    x = torch.randn(4, 3, 9, 7)
    y = torch.tensor([0, 4, 2, 1])
    seen = []
    net.bn.register_full_backward_hook(lambda m, gi, go: seen.append(str(go[0].dtype)))
    with torch.autocast('cpu', dtype=getattr(torch, dtype) if dtype else None):
        logits = net(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
    loss.backward()
    result.append(dict(
        dtypes=[str(logits.dtype), str(loss.dtype), *seen],
        logits=logits.float().flatten().tolist(), loss=loss.item(),
        grads={k: p.grad.flatten().tolist() for k, p in net.named_parameters()},
        stats=[*net.bn.running_mean.tolist(), *net.bn.running_var.tolist()]))
json.dump(result, sys.stdout)
`;

function ours(dtype: string | null): Case {
  torch.manualSeed(5);
  const net = new Net();
  const x = torch.randn([4, 3, 9, 7]);
  const y = torch.tensor([0, 4, 2, 1]).to(torch.int64);
  const seen: string[] = [];
  net.bn.registerFullBackwardHook((_, __, gradOutput) => {
    seen.push(String((gradOutput[0] as torch.Tensor).dtype));
  });
  const options = dtype === null ? {} : { dtype: dtype === 'float16' ? torch.float16 : torch.bfloat16 };
  const [logits, loss] = autocast('cpu', options, () => {
    const out = net.call(x);
    return [out, torch.cross_entropy_loss(out, y)];
  });
  loss.backward();
  const list = (t: torch.Tensor): number[] => [...(t.detach().flatten().toTypedArray() as Float32Array)];
  return {
    dtypes: [String(logits.dtype), String(loss.dtype), ...seen],
    logits: list(logits),
    loss: loss.item() as number,
    grads: Object.fromEntries(
      [...net.namedParameters()].map(([name, p]) => [name, list(p.grad as torch.Tensor)]),
    ),
    stats: [...list(net.bn.running_mean as torch.Tensor), ...list(net.bn.running_var as torch.Tensor)],
  };
}

test('forward, backward and hooks have the bits of Python’s autocast', {
  skip: pythonTorch() ? false : pythonTorchMissing,
}, () => {
  const dtypes = [null, 'bfloat16', 'float16'];
  const expected = runPython<Case[]>(REFERENCE, dtypes);
  dtypes.forEach((dtype, i) => {
    const found = ours(dtype);
    assert.deepEqual(found, expected[i], String(dtype));
    assert.equal(found.dtypes[0], dtype === 'float16' ? 'torch.float16' : 'torch.bfloat16');
    assert.equal(found.dtypes.length, 3);
  });
  // The test can tell: without autocast the bits are others.
  torch.manualSeed(5);
  const net = new Net();
  const full = net.call(torch.randn([4, 3, 9, 7])).toTypedArray();
  assert.notDeepEqual([...full].map(Number), expected[0].logits);
});

test('backward on a native thread, with hooks, gives the same gradients', () => {
  const direct = ours('bfloat16');
  torch.autograd.setBackwardMode('queue');
  try {
    assert.deepEqual(ours('bfloat16'), direct);
  } finally {
    torch.autograd.setBackwardMode('auto');
  }
});

test('a hook sees the mode of whoever called, and of no one else', () => {
  const seen: boolean[] = [];
  const weight = torch.ones([2, 2]).requiresGrad_();
  weight.registerHook(() => void seen.push(isAutocastEnabled('cpu')));
  const forward = () => weight.mm(weight).sum();
  for (const mode of ['auto', 'queue'] as const) {
    torch.autograd.setBackwardMode(mode);
    autocast('cpu', forward).backward();
    autocast('cpu', () => forward().backward());
  }
  torch.autograd.setBackwardMode('auto');
  assert.deepEqual(seen, [false, true, false, true]);
});

test('regions nest, switch off, and end with errors too', () => {
  const x = torch.ones([2, 2]);
  const dtype = () => x.mm(x).dtype;
  assert.equal(dtype(), torch.float32);
  autocast('cpu', () => {
    assert.equal(dtype(), torch.bfloat16);
    assert.equal(autocast('cpu', { dtype: torch.float16 }, dtype), torch.float16);
    assert.equal(autocast('cpu', { enabled: false }, dtype), torch.float32);
    assert.equal(withoutAutocast(dtype), torch.float32);
    assert.equal(dtype(), torch.bfloat16);
  });
  assert.throws(
    () =>
      autocast('cpu', { dtype: torch.float16 }, () => {
        throw new Error('mine');
      }),
    /^Error: mine$/,
  );
  assert.throws(() => autocast('cpu', async () => 1), /autocast must not be asynchronous/);
  assert.equal(dtype(), torch.float32);
  assert.equal(isAutocastEnabled('cpu'), false);
  assert.equal(getAutocastDtype('cpu'), torch.bfloat16);
  assert.equal(getAutocastDtype('cuda'), torch.float16);
  assert.equal(
    withoutAutocast(() => dtype()),
    torch.float32,
  );
});

test('weights that were cast are released when the region ends, and cast anew in the next', () => {
  const weight = torch.ones([256, 256]).requiresGrad_();
  const x = torch.ones([1, 256]);
  const value = () => torch.noGrad(() => autocast('cpu', () => x.mm(weight).sum().item()));
  assert.equal(value(), 256 * 256);
  torch.noGrad(() => weight.mul_(2));
  assert.equal(value(), 2 * 256 * 256);
  torch.scope(() => value());
  const before = torch.memoryStats().liveBytes;
  for (let i = 0; i < 20; i++) torch.scope(() => value());
  assert.ok(torch.memoryStats().liveBytes <= before + 4096);
});

test('what autocast cannot do is refused', { skip: torch.cuda.isAvailable() }, () => {
  const run = () => 1;
  assert.throws(() => autocast('mps', run), /knows the device types 'cpu' and 'cuda', not 'mps'/);
  assert.throws(() => autocast('cpu', { dtype: torch.float64 }, run), /float16 or bfloat16, not in float64/);
  assert.throws(() => autocast('cuda', run), /needs a CUDA device, and none is here/);
  assert.equal(autocast('cuda', { enabled: false }, run), 1);
  assert.throws(() => autocast('cpu', {} as never), /needs a function/);
});

test('operators of every kind run under autocast as without it: checks look at what they are given', () => {
  const x = torch.randn([2, 4, 6, 6]);
  autocast('cpu', () => {
    const y = torch.conv2d(x, torch.randn([4, 4, 3, 3]), torch.randn([4]));
    assert.equal(y.dtype, torch.bfloat16);
    // bfloat16 meets float32 weights everywhere in a network.
    assert.equal(
      torch.batch_norm(y, torch.ones([4]), torch.zeros([4]), null, null, true, 0.1, 1e-5, false).dtype,
      torch.bfloat16,
    );
    assert.equal(torch.layer_norm(y, [4], torch.ones([4]), torch.zeros([4])).shape.length, 4);
    assert.equal(torch.group_norm(y, 2, torch.ones([4]), torch.zeros([4])).shape.length, 4);
    assert.equal(torch.cat([y, y.to(torch.float32)], 1).dtype, torch.float32);
    const q = torch.randn([1, 2, 3, 4]);
    assert.equal(torch.scaled_dot_product_attention(q, q, q).dtype, torch.bfloat16);
  });
});
