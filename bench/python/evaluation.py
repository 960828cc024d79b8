"""Distance and ranking of random features in PyTorch, as FastReID does it: a whole matrix, each row sorted."""

import json
import resource
import sys
import time

import torch

SIZES = {"market": ("distance and ranking, 3,368 × 15,913, 2048-d", 3368, 15913, 2048)}


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
    torch.set_num_threads(2)
    torch.manual_seed(0)
    about, queries, gallery, dim = SIZES[sys.argv[1]]
    identities = round(gallery / 21)
    n = queries + gallery
    features = torch.randn(n, dim)
    pids = torch.randint(0, identities, (n,))
    cams = torch.randint(0, 6, (n,))
    centres = torch.randn(identities, dim)
    for start in range(0, n, 4096):
        features[start : start + 4096] += 0.3 * centres[pids[start : start + 4096]]
    start, cpu = time.perf_counter(), time.process_time()
    unit = torch.nn.functional.normalize(features)
    distances = 1 - unit[:queries] @ unit[queries:].t()
    rank(distances, pids[:queries], pids[queries:], cams[:queries], cams[queries:])
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({f"{about}: time": seconds, f"{about}: processor time": cpu, f"{about}: peak": peak}))


main()
