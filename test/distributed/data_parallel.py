# One rank of data_parallel.test.ts in Python: what data_parallel_rank.ts does, by PyTorch's DistributedDataParallel.
import json
import os
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

torch.set_num_threads(1)
dist.init_process_group('gloo')
rank = dist.get_rank()


def numbers(shape, salt):
    count = 1
    for n in shape:
        count *= n
    return torch.tensor([((i * 17 + salt * 31) % 101 - 50) / 64 for i in range(count)]).view(shape)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 16)
        self.bn = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, 16)
        self.a = nn.Linear(16, 4)
        self.b = nn.Linear(16, 4)

    def forward(self, x, use_b):
        x = torch.relu(self.fc2(torch.relu(self.bn(self.fc1(x)))))
        return self.a(x) + self.b(x) if use_b else self.a(x)


def train(case):
    net = Net()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(numbers(p.shape, i + 100 * rank))
    ddp = DDP(net, bucket_cap_mb=0.0005, find_unused_parameters=case == 'unused')
    for step in range(4):
        def one(part):
            x = numbers((3, 6), 7 * step + 3 * rank + part)
            use_b = step != 3 and (step + rank) % 2 == 0 if case == 'unused' else True
            ddp(x, use_b).pow(2).mean().backward()
        if case == 'accumulate':
            with ddp.no_sync():
                one(0)
        one(1)
        with torch.no_grad():
            for p in net.parameters():
                if p.grad is not None:
                    p.sub_(p.grad, alpha=0.05)
                p.grad = p.grad if step == 3 else None
    return {
        'grads': [None if p.grad is None else p.grad.flatten().tolist() for p in net.parameters()],
        'state': [t.double().flatten().tolist() for t in net.state_dict().values()],
    }


def hooked():
    """What hooks of modules and tensors see, and change, within a data-parallel step; in the order of their calls."""
    net = Net()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(numbers(p.shape, i + 100 * rank))
    ddp = DDP(net, bucket_cap_mb=0.0005)
    seen = []

    def put(name, value):
        seen.append([name, value.detach().flatten().tolist()])

    net.fc1.register_forward_pre_hook(lambda m, a: put('fc1 input', a[0]))
    net.fc2.register_forward_hook(lambda m, a, o: put('fc2 output', o))
    def backward(module, grad_input, grad_output):
        put('fc2 gradInput', grad_input[0])
        put('fc2 gradOutput', grad_output[0])

    net.fc2.register_full_backward_hook(backward)
    net.bn.register_forward_hook(lambda m, a, o: o.register_hook(lambda g: put('bn gradOutput', g)) and None)
    net.a.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
    # A parameter's hook sees the process's own gradient, and so do those that change it: the mean comes after.
    net.fc1.weight.register_hook(lambda g: put('fc1 weight', g))
    net.a.bias.register_hook(lambda g: g * 3)
    for step in range(2):
        ddp(numbers((3, 6), 7 * step + 3 * rank), True).pow(2).mean().backward()
    return {'seen': seen, 'grads': [p.grad.flatten().tolist() for p in net.parameters()]}


results = {case: train(case) for case in ('plain', 'unused', 'accumulate')}
results['hooked'] = hooked()
with open(f"{os.environ['RESULTS']}.{rank}", 'w') as file:
    json.dump(results, file)
dist.barrier()
