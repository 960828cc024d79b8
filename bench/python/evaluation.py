"""Distance and ranking of random features in PyTorch, in one way that FastReID has: a whole matrix, each row sorted."""

import json
import resource
import sys
import time

import torch

def rank(distances, q_pids, g_pids, q_cams, g_cams):
    aps = []
    firsts = []
    for row, pid, cam in zip(distances, q_pids, q_cams):
        order = row.argsort()
        same = g_pids[order] == pid
        kept = ~(same & (g_cams[order] == cam))
        hits = same[kept].nonzero().flatten()
        if len(hits) == 0:
            continue
        aps.append((torch.arange(1, len(hits) + 1) / (hits + 1)).mean())
        firsts.append(hits[0])
    return torch.stack(aps).mean(), torch.stack(firsts)


def main():
    case = json.loads(sys.argv[2])
    about, queries, dim = case["about"], case["queries"], case["dim"]
    n, identities = queries + case["gallery"], case["identities"]
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    centres = torch.randn(identities, dim)
    features = torch.empty(n, dim)
    pids = torch.empty(n, dtype=torch.long)
    cams = torch.empty(n, dtype=torch.long)
    for start in range(0, n, 512):
        rows = slice(start, min(start + 512, n))
        count = rows.stop - start
        pids[rows] = torch.randint(0, identities, (count,))
        features[rows] = centres[pids[rows]].mul_(0.3).add_(torch.randn(count, dim))
        cams[rows] = torch.randint(0, 6, (count,))
    start, cpu = time.perf_counter(), time.process_time()
    unit = torch.nn.functional.normalize(features)
    distances = 1 - unit[:queries] @ unit[queries:].t()
    mean_ap, _ = rank(distances, pids[:queries], pids[queries:], cams[:queries], cams[queries:])
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"time": seconds, "processor time": cpu, "peak": peak, "mAP": 100 * mean_ap.item()}
    print(json.dumps({f"{about}: {name}": value for name, value in figures.items()}))


main()
