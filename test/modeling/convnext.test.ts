import { ConvNeXt, type ConvNeXtOptions } from '../../src/modeling/index.js';
import { checkBits } from '../support/bits.js';

/** ConvNeXt in plain PyTorch. */
const PROGRAM = `
import torch
from torch.nn import functional as F

def make(o):
    rates = [x.item() for x in torch.linspace(0, o['dropPath'], sum(o['depths']))]

    def run(x, p, training):
        def conv(x, name, **options):
            return F.conv2d(x, p[name + '.weight'], p[name + '.bias'], **options)

        def linear(x, name):
            return F.linear(x, p[name + '.weight'], p[name + '.bias'])

        def norm(x, name):
            return F.layer_norm(x, x.shape[-1:], p[name + '.weight'], p[name + '.bias'], 1e-6)

        def norm2d(x, name):
            return norm(x.permute(0, 2, 3, 1), name).permute(0, 3, 1, 2)

        def block(x, name, rate):
            y = conv(x, name + '.conv_dw', padding=3, groups=x.shape[1]).permute(0, 2, 3, 1)
            y = linear(F.gelu(linear(norm(y, name + '.norm'), name + '.mlp.fc1')), name + '.mlp.fc2')
            y = y.permute(0, 3, 1, 2) * p[name + '.gamma'].reshape(1, -1, 1, 1)
            return drop_path(y, rate, training) + x

        x = norm2d(conv(x, 'stem.0', stride=4), 'stem.1')
        left = iter(rates)
        for i, depth in enumerate(o['depths']):
            if i > 0:
                last = dict(padding='same') if i == 3 and o['lastStride'] == 1 else dict(stride=2)
                name = f'stages.{i}.downsample.'
                x = conv(norm2d(x, name + '0'), name + '1', **last)
            for k in range(depth):
                x = block(x, f'stages.{i}.blocks.{k}', next(left))
        return x

    return run
`;

const SMALL: ConvNeXtOptions = { depths: [1, 1, 2, 1], dims: [8, 16, 24, 32], lastStride: 2, dropPath: 0 };

const CASES: Record<string, ConvNeXtOptions> = {
  plain: SMALL,
  'drop path and last stride of 1': { ...SMALL, lastStride: 1, dropPath: 0.4 },
};

checkBits(
  PROGRAM,
  Object.fromEntries(
    Object.entries(CASES).map(([name, options]) => [
      name,
      { make: () => new ConvNeXt(options), shape: [4, 3, 64, 32], options },
    ]),
  ),
);
