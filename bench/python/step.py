"""The twin of bench/step.ts: a training step of the same ResNet-50 in eager PyTorch."""
import json
import pathlib
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "support"))
from resnet_reference import Backbone  # noqa: E402

BATCH, STEPS = 16, 6

torch.set_num_threads(2)
torch.manual_seed(0)
backbone, classifier = Backbone("50x"), nn.Linear(2048, 751)
parameters = [*backbone.parameters(), *classifier.parameters()]
optimizer = torch.optim.Adam(parameters, lr=3.5e-4, weight_decay=5e-4, fused="--fused" in sys.argv or None)
images, targets = torch.randn(BATCH, 3, 256, 128), torch.randint(0, 751, (BATCH,))


def step():
    optimizer.zero_grad()
    F.cross_entropy(classifier(backbone(images).mean([2, 3])), targets).backward()
    optimizer.step()


step()
times = []
for _ in range(STEPS):
    start = time.perf_counter()
    step()
    times.append((time.perf_counter() - start) * 1e3)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"training step": sorted(times)[STEPS // 2], "peak resident memory": peak}))
