import {
  type CameraBackbone,
  VisionTransformer,
  type VisionTransformerOptions,
} from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { checkBits } from '../support/bits.js';

/** The transformer in plain PyTorch, with the options of VisionTransformerOptions. */
const PROGRAM = `
import torch
from torch.nn import functional as F

def make(o):
    dim, heads, fused = o['dim'], o['heads'], o.get('fusedAttention', False)
    scale = o.get('attentionScale', (dim / heads) ** -0.5)
    rates = [x.item() for x in torch.linspace(0, o.get('dropPath', 0), o['depth'])]

    def run(x, p, training):
        def linear(x, name):
            return F.linear(x, p[name + '.weight'], p.get(name + '.bias'))

        def norm(x, name):
            return F.layer_norm(x, (dim,), p[name + '.weight'], p[name + '.bias'], o.get('normEps', 1e-6))

        def drop(x):
            return F.dropout(x, o.get('drop', 0), training)

        def scaled(x, name):
            return x * p[name] if name in p else x

        def attention(x, name):
            B, N, C = x.shape
            q, k, v = linear(x, name + '.qkv').reshape(B, N, 3, heads, C // heads).permute(2, 0, 3, 1, 4).unbind(0)
            if fused:
                y = F.scaled_dot_product_attention(q, k, v, scale=scale)
            else:
                weights = ((q @ k.transpose(-2, -1)) * scale).softmax(dim=-1)
                y = F.dropout(weights, o.get('attentionDrop', 0), training) @ v
            return drop(linear(y.transpose(1, 2).reshape(B, N, C), name + '.proj'))

        def mlp(x, name):
            x = linear(x, name + '.fc1')
            x = x * torch.sigmoid(1.702 * x) if o.get('activation') == 'quick_gelu' else F.gelu(x)
            return drop(linear(drop(x), name + '.fc2'))

        def positions(h, w):
            e, (rows, columns), n = p['pos_embed'], o['grid'], 0 if 'reg_token' in p else 1
            if [h, w] == [rows, columns]:
                return e
            grid = e[:, n:].reshape(1, rows, columns, dim).permute(0, 3, 1, 2)
            aa = o['resize'] == 'bicubic'
            grid = F.interpolate(grid, size=(h, w), mode=o['resize'], align_corners=False, antialias=aa)
            grid = grid.permute(0, 2, 3, 1).reshape(1, h * w, dim)
            return torch.cat((e[:, :n], grid), dim=1) if n else grid

        x = F.conv2d(x, p['patch_embed.proj.weight'], p.get('patch_embed.proj.bias'), stride=o['stride'])
        B, (h, w) = len(x), x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        first = [p[t].expand(B, -1, -1) for t in ('cls_token', 'reg_token') if t in p]
        if 'reg_token' in p:
            x = torch.cat((*first, x + positions(h, w)), dim=1)
        else:
            x = torch.cat((*first, x), dim=1) + positions(h, w)
        if 'sie_embed' in p:
            x = x + o['cameraWeight'] * p['sie_embed'][torch.tensor(o['camids'])]
        x = drop(x)
        if 'norm_pre.weight' in p:
            x = norm(x, 'norm_pre')
        for i, rate in enumerate(rates):
            b = f'blocks.{i}.'
            x = x + drop_path(scaled(attention(norm(x, b + 'norm1'), b + 'attn'), b + 'ls1.gamma'), rate, training)
            x = x + drop_path(scaled(mlp(norm(x, b + 'norm2'), b + 'mlp'), b + 'ls2.gamma'), rate, training)
        x = norm(x, 'norm')
        x = x[:, 0] if o.get('output') != 'patch' else x[:, -h * w:]
        if 'head.weight' in p:
            x = linear(x, 'head')
        return x.reshape(B, -1, 1, 1) if x.dim() == 2 else x.transpose(1, 2).reshape(B, -1, h, w)

    return run
`;

const SMALL = { dim: 48, depth: 3, heads: 4, mlpRatio: 3, patchSize: 8 } as const;
const CAMIDS = [2, 0, 2, 1];

const CASES: Record<string, VisionTransformerOptions> = {
  // FastReID: patches overlap; all that is drawn at random; cameras.
  overlapping: {
    ...SMALL,
    imageSize: [40, 24],
    stride: [6, 4],
    qkvBias: false,
    attentionScale: SMALL.dim ** -0.5,
    drop: 0.1,
    attentionDrop: 0.1,
    dropPath: 0.3,
    cameras: 3,
    cameraWeight: 1.5,
    resize: 'bilinear',
  },
  resized: { ...SMALL, imageSize: [24, 24], stride: [8, 8], resize: 'bilinear' },
  // DINOv2 with registers, whose map of patches is asked for.
  registers: {
    ...SMALL,
    imageSize: [48, 32],
    stride: [8, 8],
    layerScale: 1e-5,
    registerTokens: 4,
    dropPath: 0.2,
    output: 'patch',
    resize: 'bicubic',
    fusedAttention: true,
  },
  clip: {
    ...SMALL,
    imageSize: [40, 24],
    stride: [8, 8],
    normEps: 1e-5,
    preNorm: true,
    activation: 'quick_gelu',
    projection: 20,
    resize: 'bicubic',
    fusedAttention: true,
  },
};

checkBits(
  PROGRAM,
  Object.fromEntries(
    Object.entries(CASES).map(([name, options]) => [
      name,
      {
        make: () => new VisionTransformer(options),
        shape: [4, 3, 40, 24],
        run: (model, images) => {
          if (options.cameras === undefined) return model.call(images);
          return (model as CameraBackbone).call(images, torch.tensor(CAMIDS, { dtype: torch.int64 }));
        },
        options: { ...options, grid: new VisionTransformer(options).grid, camids: CAMIDS },
      },
    ]),
  ),
);
