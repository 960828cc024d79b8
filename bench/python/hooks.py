"""The twin of bench/hooks.ts in eager PyTorch, but for steps in turns, which say nothing of ours."""
import json
import pathlib
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "support"))
from resnet_reference import Backbone  # noqa: E402

CHAIN, ROUNDS, STEPS, RECORDED, MAP = 200, 40, 3, 8, (16, 2048, 16, 8)


def milliseconds(body):
    start = time.process_time()
    body()
    return (time.process_time() - start) * 1e3


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


class Removable:
    def __init__(self, remove):
        self.remove = remove


def measure_calls():
    chain = nn.Sequential(*[nn.Identity() for _ in range(CHAIN)])
    modules = list(chain.children())
    x = torch.ones(1, requires_grad=True)
    watched = 0

    def watch():
        nonlocal watched
        watched = CHAIN

        def stop():
            nonlocal watched
            watched = 0

        return [Removable(stop)]

    def one_tensor():
        y = x * 2
        for _ in range(watched):
            y.register_hook(lambda g: None)
        (y * 1).backward()

    identity, big, seen = nn.Identity(), torch.randn(MAP), []

    def capture():
        handle = identity.register_forward_hook(lambda m, a, o: seen.append(o.detach().mean()))
        return [handle, Removable(seen.clear)]

    return {
        "forward hook, a call": added(
            lambda: [m.register_forward_hook(lambda m, a, o: None) for m in modules], lambda: chain(x), CHAIN
        ),
        "full backward hook, a call": added(
            lambda: [m.register_full_backward_hook(lambda m, gi, go: None) for m in modules],
            lambda: (chain(x) * 1).backward(),
            CHAIN,
        ),
        "tensor hook, a call": added(
            lambda: [x.register_hook(lambda g: None) for _ in range(CHAIN)], lambda: (x * 1).backward(), CHAIN
        ),
        "tensor hook, registered and called": added(watch, one_tensor, CHAIN),
        "captured mean of layer4": added(capture, lambda: identity(big), 1),
    }


def training(depth, size):
    backbone = Backbone(depth)
    classifier = nn.Linear(2048 if depth == "50x" else 512, 751)
    optimizer = torch.optim.Adam([*backbone.parameters(), *classifier.parameters()], lr=1e-4)
    images, targets = torch.randn(size), torch.randint(0, 751, (size[0],))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(classifier(backbone(images).mean([2, 3])), targets).backward()
        optimizer.step()

    return step, backbone


def measure_step(calls):
    step, backbone = training("50x", (16, 3, 256, 128))
    count = 0

    def counting(module, args, output):
        nonlocal count
        count += 1

    handles = [module.register_forward_hook(counting) for module in backbone.modules()]
    step()
    for handle in handles:
        handle.remove()
    elapsed = []
    for _ in range(STEPS):
        start = time.perf_counter()
        step()
        elapsed.append((time.perf_counter() - start) * 1e3)
    elapsed = median(elapsed)

    def share(kind, number):
        return number * calls[kind] / 10 / elapsed

    return {
        "training step of ResNet-50": elapsed * 1000,
        "forward hooks on every module, by calls": share("forward hook, a call", count),
        "full backward hooks on every module, by calls": share("full backward hook, a call", count),
        "captured mean of layer4, by calls": share("captured mean of layer4", 1),
    }


def measure_profiler():
    torch.set_num_threads(1)
    one = torch.ones(1)

    def operators():
        for _ in range(CHAIN):
            one + 1

    def recording():
        profiler = torch.autograd.profiler.profile(profile_memory=True)
        profiler.__enter__()
        return [Removable(lambda: profiler.__exit__(None, None, None))]

    operator = added(recording, operators, CHAIN)
    step, _ = training("18x", (32, 3, 64, 64))
    for _ in range(3):
        step()
    times, shares, readings, events = [], [], [], 0
    for _ in range(RECORDED):
        without = milliseconds(step)
        profiler = torch.autograd.profiler.profile(profile_memory=True)

        def record():
            profiler.__enter__()
            step()

        within = milliseconds(record)

        def read():
            nonlocal events
            profiler.__exit__(None, None, None)
            profiler.key_averages()
            events = len(profiler.function_events)

        readings.append(milliseconds(read) * 1000)
        times.append(without * 1000)
        shares.append(100 * (within - without) / without)
    return {
        "profiler, an operator": operator,
        "training step of ResNet-18": median(times),
        "profiler on ResNet-18, by operators": 100 * events * operator / median(times),
        "profiler on ResNet-18, steps in turns": median(shares),
        "reading the recording": median(readings),
    }


torch.set_num_threads(2)
parts = sys.argv[1:]
calls = measure_calls() if "calls" in parts or "step" in parts else {}
print(json.dumps({
    **calls,
    **(measure_step(calls) if "step" in parts else {}),
    **(measure_profiler() if "profiler" in parts else {}),
}))
