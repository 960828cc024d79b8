"""The twin of bench/cuda.ts: the same training step in PyTorch, at its fastest (fused Adam, no needless waits).

Eager, or with "graph" in the task a whole step in one CUDA graph, as https://docs.pytorch.org/docs/stable/notes/cuda.html
says under "CUDA Graphs".
"""
import json
import os
import pathlib
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "support"))
from resnet_reference import MEAN, STD, Backbone, Head, hard_triplet  # noqa: E402


class Timing:
    """Called after each step; prints what bench/cuda.ts reads."""

    def __init__(self, task):
        self.task, self.on_gpu, self.done, self.speeds = task, task["device"] != "cpu", 0, []

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def step(self):
        self.done += 1
        warmup, steps = self.task["warmup"], self.task["steps"]
        if self.done == 1:
            self.wait()
            self.first = time.time() - float(os.environ["BENCH_STARTED"]) / 1000
        if self.done < warmup or (self.done - warmup) % steps:
            return
        self.wait()
        now = time.perf_counter()
        if self.done > warmup:
            self.speeds.append(self.task["batch"] * steps / (now - self.begin))
        elif self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.begin = time.perf_counter()

    def total(self):
        return self.task["warmup"] + 3 * self.task["steps"]

    def report(self):
        # A replay uses memory of the graph's that is not counted as allocated.
        peak = torch.cuda.max_memory_allocated() if self.on_gpu and not self.task["graph"] else 0
        reserved = torch.cuda.max_memory_reserved() if self.on_gpu else 0
        print(json.dumps({"imagesPerSecond": sorted(self.speeds)[1], "peakMiB": peak / 2**20,
                          "reservedMiB": reserved / 2**20, "firstStepSeconds": self.first}))


def set_up(task):
    torch.set_num_threads(2)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = task["precision"] == "tf32"
    torch.set_float32_matmul_precision("high" if task["precision"] == "tf32" else "highest")


def batches(task):
    made = []
    for _ in range(4):
        images = torch.randint(0, 256, (task["batch"], 3, *task["size"]), dtype=torch.uint8)
        targets = torch.randint(0, task["classes"], (task["batch"] // 4,)).repeat_interleave(4)
        made.append((images if task["device"] == "cpu" else images.pin_memory(), targets))
    while True:
        yield from made


class Model(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.backbone = Backbone(task["depth"])
        self.heads = Head(task["features"], task["classes"])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, images, targets):
        logits, features = self.heads(self.backbone((images - self.mean).div_(self.std)))
        accuracy = (logits.detach().argmax(1) == targets).float().mean()
        log_p = F.log_softmax(logits.float(), 1)
        with torch.no_grad():
            wanted = torch.full_like(log_p, 0.1 / (logits.shape[1] - 1)).scatter_(1, targets[:, None], 0.9)
        with torch.autocast(images.device.type, enabled=False):
            return (-wanted * log_p).sum(1).mean(), hard_triplet(features.float(), targets), accuracy


class Recorded:
    """A step as a graph: three calls as usual on another stream, then one is recorded, and replayed from there on."""

    def __init__(self, step, optimizer):
        self.step, self.optimizer, self.calls = step, optimizer, 0
        self.side, self.graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()

    def __call__(self, *given):
        if self.calls == 0:
            self.inputs = [torch.empty_like(tensor) for tensor in given]
        for tensor, new in zip(self.inputs, given):
            tensor.copy_(new)
        self.calls += 1
        if self.calls <= 3:
            self.side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.side):
                result = self.step(*self.inputs)
            torch.cuda.current_stream().wait_stream(self.side)
            return result
        if self.calls == 4:
            self.optimizer.zero_grad()
            with torch.cuda.graph(self.graph):
                self.result = self.step(*self.inputs)
        self.graph.replay()
        return self.result


def main(task):
    set_up(task)
    timing = Timing(task)
    device, graph = task["device"], task["graph"]
    model = Model(task).to(device)
    if task["layout"] == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=3.5e-4, weight_decay=5e-4, fused=True, capturable=graph)
    short = task["precision"] in ("float16", "bfloat16")
    dtype = getattr(torch, task["precision"]) if short else None
    scaler = torch.amp.GradScaler(device, enabled=task["precision"] == "float16")

    def step(images, targets):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype, enabled=short):
            cls, triplet, accuracy = model(images.float(), targets)
        scaler.scale(cls + triplet).backward()
        scaler.step(optimizer)
        scaler.update()
        return torch.stack([cls, triplet, accuracy]).detach()

    if graph:
        step = Recorded(step, optimizer)
    source = batches(task)
    for _ in range(timing.total()):
        images, targets = next(source)
        # The only wait of a step, as with our trainer.
        values = step(images.to(device, non_blocking=True), targets.to(device, non_blocking=True)).tolist()
        assert all(value == value for value in values)
        timing.step()
    timing.report()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
