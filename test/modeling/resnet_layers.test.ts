import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { IBN, NonLocal, SplitAttentionConv2d, SqueezeExcite } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { fill, fillModel } from '../support/fill.js';
import { checkLayer } from '../support/layer_fidelity.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';
import { runPython } from '../support/python.js';

const LAYERS: Record<string, () => torch.nn.Module> = {
  IBN: () => new IBN(32, 'BN'),
  SE: () => new SqueezeExcite(32),
  NonLocal: () => new NonLocal(32, 'BN'),
  SplAt: () => new SplitAttentionConv2d(32, 16, 3, { norm: 'BN', padding: 1 }),
};

for (const [name, make] of Object.entries(LAYERS)) checkLayer(name, make);

/** The layers in plain PyTorch, on 64 channels in training mode: CRC-32 of output and gradients. */
const PROGRAM = `
import json, math, sys, zlib
import torch
from torch.nn import functional as F
request = json.load(sys.stdin)
sys.path.insert(0, request['support'])
from resnet_reference import filled, unit
torch.set_num_threads(1)

def norm(x, p, name):
    mean, var = p[name + '.running_mean'].clone(), p[name + '.running_var'].clone()
    return F.batch_norm(x, mean, var, p[name + '.weight'], p[name + '.bias'], True)

def conv(x, p, name, **options):
    return F.conv2d(x, p[name + '.weight'], p.get(name + '.bias'), **options)

def ibn(x, p):
    a, b = (half.contiguous() for half in x.chunk(2, 1))
    return torch.cat((F.instance_norm(a, weight=p['IN.weight'], bias=p['IN.bias']), norm(b, p, 'BN')), 1)

def se(x, p):
    means = F.adaptive_avg_pool2d(x, 1).flatten(1)
    scale = F.linear(F.relu(F.linear(means, p['fc.0.weight'])), p['fc.2.weight']).sigmoid()
    return x * scale[:, :, None, None].expand_as(x)

def non_local(x, p):
    g, theta, phi = (conv(x, p, name).flatten(2) for name in ('g', 'theta', 'phi'))
    pairs = torch.matmul(theta.permute(0, 2, 1), phi) / phi.shape[2]
    y = torch.matmul(pairs, g.permute(0, 2, 1)).permute(0, 2, 1).contiguous()
    return norm(conv(y.view(len(x), 1, *x.shape[2:]), p, 'W.0'), p, 'W.1') + x

def split_attention(x, p):
    maps = F.relu(norm(conv(x, p, 'conv', padding=1, groups=2), p, 'bn0')).chunk(2, 1)
    hidden = F.relu(norm(conv(F.adaptive_avg_pool2d(sum(maps), 1), p, 'fc1'), p, 'bn1'))
    scores = conv(hidden, p, 'fc2').view(len(x), 1, 2, -1).transpose(1, 2)
    weights = F.softmax(scores, 1).reshape(len(x), -1, 1, 1).chunk(2, 1)
    return sum(weight * map for weight, map in zip(weights, maps))

def crc(t):
    return zlib.crc32(t.detach().contiguous().numpy().tobytes())

def fill(name, shape):
    return torch.from_numpy(unit(name, math.prod(shape)).reshape(shape).astype('float32'))

def answer(layer, keys):
    p = {key: filled(key, tuple(shape)).requires_grad_('running' not in key) for key, shape in keys if shape}
    x = fill('x', (4, 64, 16, 8)).requires_grad_()
    y = layer(x, p)
    y.backward(fill('cotangent', y.shape))
    return {'y': crc(y), 'x': crc(x.grad), **{k: crc(v.grad) for k, v in p.items() if v.requires_grad}}

layers = {'IBN': ibn, 'SE': se, 'NonLocal': non_local, 'SplAt': split_attention}
print(json.dumps({name: answer(layers[name], keys) for name, keys in request['keys'].items()}))
`;

const WIDE: Record<string, () => torch.nn.Module> = {
  IBN: () => new IBN(64, 'BN'),
  SE: () => new SqueezeExcite(64),
  NonLocal: () => new NonLocal(64, 'BN'),
  SplAt: () => new SplitAttentionConv2d(64, 64, 3, { norm: 'BN', padding: 1, bias: false }),
};

function crc(tensor: torch.Tensor | null): number {
  assert.ok(tensor);
  return crc32(new Uint8Array((tensor.contiguous().toTypedArray() as Float32Array).buffer));
}

test('output and gradients have the bits of plain PyTorch', {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  const threads = torch.getNumThreads();
  torch.setNumThreads(1);
  const keys: Record<string, [string, number[]][]> = {};
  const found: Record<string, Record<string, number>> = {};
  for (const [name, make] of Object.entries(WIDE)) {
    const layer = make();
    keys[name] = [...layer.stateDict()].map(([key, t]) => [key, t.shape]);
    fillModel(layer, 1);
    const x = fill('x', [4, 64, 16, 8]).requiresGrad_();
    const y = layer.call(x);
    y.backward(fill('cotangent', y.shape));
    const gradients = [...layer.namedParameters()].map(([key, p]) => [key, crc(p.grad)]);
    found[name] = { y: crc(y), x: crc(x.grad), ...Object.fromEntries(gradients) };
  }
  torch.setNumThreads(threads);
  assert.deepEqual(found, runPython(PROGRAM, { support: `${repoRoot}/test/support`, keys }));
});
