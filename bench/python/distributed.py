"""The twin of bench/distributed.ts in eager PyTorch."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

if "RANK" not in os.environ:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2")
    other = subprocess.Popen([sys.executable, __file__], env={**os.environ, "RANK": "1"}, stdout=subprocess.DEVNULL)
    os.environ["RANK"] = "0"

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "test" / "support"))
from resnet_reference import Backbone  # noqa: E402

BATCH, STEPS = 4, 7
torch.set_num_threads(1)
backend, kind = os.environ.get("RANKS_ON", "gloo/cpu").split("/")
device = torch.device(kind, int(os.environ["RANK"]) if kind == "cuda" else None)
if kind == "cuda":
    torch.cuda.set_device(device)
dist.init_process_group(backend)


def median(count, body):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        body()
        if kind == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[count // 2]


def stepper(group, parallel=True):
    torch.manual_seed(0)
    net = Backbone("18x").to(device)
    model = DDP(net, process_group=group) if parallel else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(BATCH, 3, 128, 64).to(device)

    def step():
        optimizer.zero_grad()
        model(images).mean().backward()
        optimizer.step()

    return step


big = torch.ones(25_000_000, device=device)


def reduce():
    dist.all_reduce(big)
    big.fill_(1)


reduce()
all_reduce = median(STEPS, reduce)
both = stepper(None)
for _ in range(2):
    both()
parallel = median(STEPS, both)
alone = dist.new_group([0])
if dist.get_rank() == 0:
    plain, wrapped = stepper(None, parallel=False), stepper(alone)
    for _ in range(2):
        plain()
        wrapped()
    ratios = []
    for _ in range(STEPS):
        a = median(1, plain)
        ratios.append(median(1, wrapped) / a)
    figures = {"all_reduce of 100 MB": all_reduce, "data-parallel step": parallel,
               "step with one rank ÷ without": sorted(ratios)[STEPS // 2]}
    print(json.dumps(figures))
dist.barrier()
dist.destroy_process_group()
