"""CPU nanoseconds a call of tiny operators in eager PyTorch; the twin of bench/operators.ts."""
import json
import time

import torch

CALLS, REPEATS = 100_000, 5


def measure(body):
    for _ in range(20_000):
        body()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        for _ in range(CALLS):
            body()
        times.append((time.process_time() - start) / CALLS * 1e9)
    return sorted(times)[REPEATS // 2]


torch.set_num_threads(1)
one, square = torch.ones(1), torch.ones(8, 8)
one_grad, square_grad = torch.ones(1, requires_grad=True), torch.ones(8, 8, requires_grad=True)
result = {}
with torch.no_grad():
    result["add, no grad"] = measure(lambda: one.add(one))
    result["matmul 8×8, no grad"] = measure(lambda: square.matmul(square))
    result["view, no grad"] = measure(lambda: square.view(4, 16))
result["add, grad"] = measure(lambda: one_grad.add(one))
result["matmul 8×8, grad"] = measure(lambda: square_grad.matmul(square))
result["view, grad"] = measure(lambda: square_grad.view(4, 16))
print(json.dumps(result))
