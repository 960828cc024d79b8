"""What the programs in plain PyTorch that models are compared with have in common: the twin of bits.ts."""

import math
import zlib

import torch
from resnet_reference import filled, unit

torch.set_num_threads(1)


def crc(t):
    return zlib.crc32(t.detach().contiguous().numpy().tobytes())


def fill(name, shape):
    return torch.from_numpy(unit(name, math.prod(shape)).reshape(shape).astype("float32"))


def drop_path(x, p, training):
    """Stochastic depth as timm and FastReID write it."""
    if p == 0 or not training:
        return x
    keep = 1 - p
    mask = keep + torch.rand((len(x),) + (1,) * (x.ndim - 1), dtype=x.dtype)
    return x.div(keep) * mask.floor_()


def answer(run, keys, shape):
    """CRC-32 of what run(images, parameters, training) gives in evaluation and in training, and of all gradients."""
    p = {key: filled(key, tuple(size)).requires_grad_() for key, size in keys}
    x = fill("x", shape).requires_grad_()
    with torch.no_grad():
        evaluated = run(x, p, False)
    torch.manual_seed(0)
    y = run(x, p, True)
    y.backward(fill("cotangent", y.shape))
    return {"eval": crc(evaluated), "train": crc(y), "x": crc(x.grad), **{k: crc(v.grad) for k, v in p.items()}}
