"""The twin of bench/hooks.ts in eager PyTorch."""
import json
import pathlib
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "support"))
from resnet_reference import Backbone  # noqa: E402

CHAIN, ROUNDS, STEPS, MAP = 200, 40, 3, (16, 2048, 16, 8)


def milliseconds(body):
    start = time.perf_counter()
    body()
    return (time.perf_counter() - start) * 1e3


def median(values):
    return sorted(values)[len(values) // 2]


def added(attach, body, count):
    differences = []
    for turn in range(ROUNDS):
        without = milliseconds(body)
        handles = attach()
        within = milliseconds(body)
        for handle in handles:
            handle.remove()
        if turn >= ROUNDS / 4:
            differences.append((within - without) * 1000)
    return median(differences) / count


def training_step():
    backbone, classifier = Backbone("50x"), nn.Linear(2048, 751)
    optimizer = torch.optim.Adam([*backbone.parameters(), *classifier.parameters()], lr=1e-4)
    images, targets = torch.randn(16, 3, 256, 128), torch.randint(0, 751, (16,))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(classifier(backbone(images).mean([2, 3])), targets).backward()
        optimizer.step()

    counts = [0, 0]

    def count(module, args, output):
        counts[0] += 1
        counts[1] += isinstance(module, nn.Conv2d)

    handles = [module.register_forward_hook(count) for module in backbone.modules()]
    step()
    for handle in handles:
        handle.remove()
    return median([milliseconds(step) for _ in range(STEPS)]), *counts


class Removable:
    def __init__(self, remove):
        self.remove = remove


torch.set_num_threads(2)
chain = nn.Sequential(*[nn.Identity() for _ in range(CHAIN)])
modules = list(chain.children())
x = torch.ones(1, requires_grad=True)
forward_hook = added(
    lambda: [m.register_forward_hook(lambda m, a, o: None) for m in modules], lambda: chain(x), CHAIN
)
backward_hook = added(
    lambda: [m.register_full_backward_hook(lambda m, gi, go: None) for m in modules],
    lambda: (chain(x) * 1).backward(),
    CHAIN,
)
watched = 0


def watch():
    global watched
    watched = CHAIN

    def stop():
        global watched
        watched = 0

    return [Removable(stop)]


def one_tensor():
    y = x * 2
    for _ in range(watched):
        y.register_hook(lambda g: None)
    (y * 1).backward()


tensor_hook = added(watch, one_tensor, CHAIN)
identity, big, seen = nn.Identity(), torch.randn(MAP), []


def attach_capture():
    handle = identity.register_forward_hook(lambda m, a, o: seen.append(o.detach().mean()))
    return [handle, Removable(seen.clear)]


capture = added(attach_capture, lambda: identity(big), 1)
time_of_step, calls, convolutions = training_step()


def share(us):
    return 100 * us / 1000 / time_of_step


print(json.dumps({
    "forward hook, a call": forward_hook,
    "full backward hook, a call": backward_hook,
    "tensor hook, registered and called": tensor_hook,
    "captured mean of layer4, a step": capture,
    "training step": time_of_step * 1000,
    "forward hooks on every module, share of a step": share(forward_hook * calls),
    "full backward hooks on every convolution, share of a step": share(backward_hook * convolutions),
    "captured mean of layer4, share of a step": share(capture),
}))
