"""A re-identification ResNet in plain PyTorch: what the TypeScript models are compared with.

Reads one JSON request from the command line, prints one JSON answer:
  {"do": "train", "depth": "18x", "opt": "Adam"|"SGD", "steps": n, "threads": n, "height": h, "width": w, "images": name}
      -> {"losses": [[cls, triplet], ...], "crc": {state-dict name: CRC-32 of the bytes after training}}
  {"do": "init", "depth": "18x", "seed": n}
      -> {"crc": {state-dict name: CRC-32 of the bytes}}
"""

import json
import math
import sys
import zlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DEPTHS = {"18x": ("basic", [2, 2, 2, 2]), "50x": ("bottleneck", [3, 4, 6, 3])}
MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]


def unit(name, count):
    """The counter hash of test/support/fill.ts: float64, uniform in [-1, 1)."""
    seed = 2166136261
    for byte in name.encode():
        seed = (seed ^ byte) * 16777619 % 2**32
    x = (seed + np.arange(1, count + 1, dtype=np.uint64) * 0x9E3779B9).astype(np.uint32)
    x ^= x >> 16
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> 13
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> 16
    return 2 * (x / 2**32) - 1


def filled(name, shape):
    v = unit(name, math.prod(shape)).reshape(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_mean"):
        v = 0.1 * v
    elif name.endswith("running_var"):
        v = 1 + 0.5 * ((v + 1) / 2)
    elif name.endswith("weight") and len(shape) > 1:
        v = v * math.sqrt(3 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        v = 1 + 0.25 * v
    else:
        v = 0.1 * v
    return torch.from_numpy(v.astype(np.float32))


def images(name, n, h, w):
    fine = unit(f"input:{name}", n * 3 * h * w).reshape(n, 3, h, w)
    coarse = unit(f"coarse:{name}", n * 3 * (h // 16) * (w // 16)).reshape(n, 3, h // 16, w // 16)
    # Each part is rounded to float32, then their sum.
    pixels = (127.5 + 57 * fine).astype(np.float32) + np.kron((70 * coarse).astype(np.float32), np.ones((16, 16), np.float32))
    return torch.from_numpy(pixels)


def conv(cin, cout, size, stride=1):
    return nn.Conv2d(cin, cout, size, stride=stride, padding=size // 2, bias=False)


class Block(nn.Module):
    def __init__(self, kind, cin, planes, stride, downsample):
        super().__init__()
        if kind == "basic":
            self.conv1, self.bn1 = conv(cin, planes, 3, stride), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
            self.last = 2
        else:
            self.conv1, self.bn1 = conv(cin, planes, 1), nn.BatchNorm2d(planes)
            self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
            self.conv3, self.bn3 = conv(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
            self.last = 3
        self.downsample = downsample

    def forward(self, x):
        out = x
        for i in range(1, self.last + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            if i < self.last:
                out = F.relu_(out)
        out += x if self.downsample is None else self.downsample(x)
        return F.relu_(out)


class Backbone(nn.Module):
    def __init__(self, depth):
        super().__init__()
        kind, counts = DEPTHS[depth]
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        cin = 64
        for stage, (planes, count, stride) in enumerate(zip([64, 128, 256, 512], counts, [1, 2, 2, 1]), 1):
            cout = planes if kind == "basic" else 4 * planes
            blocks = []
            for i in range(count):
                down = None
                if i == 0 and (stride != 1 or cin != cout):
                    down = nn.Sequential(conv(cin, cout, 1, stride), nn.BatchNorm2d(cout))
                blocks.append(Block(kind, cin, planes, stride if i == 0 else 1, down))
                cin = cout
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.width = cin
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.normal_(m.weight, 0, math.sqrt(2 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))

    def forward(self, x):
        x = F.max_pool2d(F.relu_(self.bn1(self.conv1(x))), 3, 2, ceil_mode=True)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Head(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.bottleneck = nn.Sequential(nn.BatchNorm2d(width))
        self.bottleneck[0].bias.requires_grad_(False)
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.normal_(self.weight, std=0.01)

    def forward(self, x):
        pooled = F.adaptive_avg_pool2d(x, 1)
        neck = self.bottleneck(pooled)[..., 0, 0]
        return F.linear(neck, self.weight) * 1, pooled[..., 0, 0]


class Model(nn.Module):
    def __init__(self, depth, classes):
        super().__init__()
        self.backbone = Backbone(depth)
        self.heads = Head(self.backbone.width, classes)

    def forward(self, x):
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        return self.heads(self.backbone((x - mean) / std))


def smooth_cross_entropy(logits, targets, epsilon=0.1):
    log_p = F.log_softmax(logits, 1)
    with torch.no_grad():
        wanted = torch.full_like(log_p, epsilon / (logits.shape[1] - 1))
        wanted.scatter_(1, targets[:, None], 1 - epsilon)
    losses = (-wanted * log_p).sum(1)
    return losses.sum() / max(int((losses != 0).sum()), 1)


def hard_triplet(x, targets, margin=0.3):
    n = len(x)
    xx = x.pow(2).sum(1, keepdim=True).expand(n, n)
    yy = x.pow(2).sum(1, keepdim=True).expand(n, n).t()
    d = (xx + yy - 2 * torch.matmul(x, x.t())).clamp(min=1e-12).sqrt()
    same = (targets[:, None] == targets[None, :]).float()
    positive = (d * same).max(1)[0]
    negative = (d * (1 - same) + same * 1e9).min(1)[0]
    return F.margin_ranking_loss(negative, positive, torch.ones_like(negative), margin=margin)


def crc(model):
    return {k: zlib.crc32(v.contiguous().numpy().tobytes()) for k, v in model.state_dict().items()}


def train(request):
    torch.set_num_threads(request["threads"])
    model = Model(request["depth"], 5)
    model.load_state_dict({k: filled(k, tuple(v.shape)) for k, v in model.state_dict().items()})
    parameters = [p for p in model.parameters() if p.requires_grad]
    if request["opt"] == "Adam":
        optimizer = torch.optim.Adam(parameters, lr=3.5e-4, weight_decay=5e-4, fused=True)
    else:
        optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    targets = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    batches = [images(f"{request['images']}:{i}", 8, request["height"], request["width"]) for i in range(2)]
    losses = []
    for i in range(request["steps"]):
        logits, features = model(batches[i % 2])
        cls, triplet = smooth_cross_entropy(logits, targets), hard_triplet(features, targets)
        optimizer.zero_grad()
        (cls + triplet).backward()
        optimizer.step()
        losses.append([cls.item(), triplet.item()])
    return {"losses": losses, "crc": crc(model)}


def init(request):
    torch.manual_seed(request["seed"])
    return {"crc": crc(Model(request["depth"], 5))}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps({"train": train, "init": init}[asked["do"]](asked)))
