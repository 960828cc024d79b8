"""FastReID's own evaluation: its `ReidEvaluator`, with compiled ranking and, with `rerank`, with re-ranking.

FASTREID is the root of a checkout whose Cython ranking is compiled; this Python has what it needs. Features and labels
are those of bench/evaluation.ts, from the same generator.
"""

import json
import os
import resource
import sys
import time

import torch

sys.path.insert(0, os.environ["FASTREID"])

from fastreid.config import get_cfg  # noqa: E402
from fastreid.evaluation import rank  # noqa: E402
from fastreid.evaluation.reid_evaluation import ReidEvaluator  # noqa: E402
from fastreid.utils import compute_dist  # noqa: E402


def rerank_on_cpu():
    """FastReID asks for the GPU's search; its own function has one for the CPU (faiss)."""
    jaccard = compute_dist.compute_jaccard_distance

    def on_cpu(features, **options):
        return jaccard(features, **{**options, "search_option": 3})

    compute_dist.compute_jaccard_distance = on_cpu


def main():
    case = json.loads(sys.argv[2])
    about, queries, dim = case["about"], case["queries"], case["dim"]
    total, identities = queries + case["gallery"], case["identities"]
    if not rank.IS_CYTHON_AVAI:
        sys.exit("FastReID's Cython ranking is not compiled: make -C fastreid/evaluation/rank_cylib all")
    rerank_on_cpu()
    torch.set_num_threads(case["threads"])
    torch.manual_seed(0)
    cfg = get_cfg()
    cfg.TEST.RERANK.ENABLED = case["rerank"]
    evaluator = ReidEvaluator(cfg, queries)
    centres = torch.randn(identities, dim)
    for start in range(0, total, 512):
        n = min(512, total - start)
        pids = torch.randint(0, identities, (n,))
        features = centres.index_select(0, pids).mul_(0.3).add_(torch.randn(n, dim))
        cams = torch.randint(0, 6, (n,))
        evaluator.process({"targets": pids, "camids": cams}, features)
    del centres
    start, cpu = time.perf_counter(), time.process_time()
    results = evaluator.evaluate()
    seconds = time.perf_counter() - start
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"time": seconds, "processor time": cpu, "peak": peak, "mAP": float(results["mAP"])}
    print(json.dumps({f"{about}: {name}": value for name, value in figures.items()}))


main()
