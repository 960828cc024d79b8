"""FastReID's own model, losses, optimizer and trainer on the batches of bench/cuda.ts; FASTREID is its root folder."""
import collections
import collections.abc
import functools
import json
import os
import sys
import types

from gpu_training import Timing, batches, set_up

root = os.environ["FASTREID"]
sys.path.insert(0, root)
# What FastReID was written for and Python has lost since.
for name in ("Mapping", "Iterable", "Sequence", "MutableMapping"):
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))
# fastreid.engine imports data, evaluation and their packages; only its training loop is wanted.
engine = types.ModuleType("fastreid.engine")
engine.__path__ = [os.path.join(root, "fastreid", "engine")]
sys.modules["fastreid.engine"] = engine

from fastreid.config import get_cfg  # noqa: E402
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer  # noqa: E402
from fastreid.modeling import build_model  # noqa: E402
from fastreid.solver import build_optimizer  # noqa: E402
from fastreid.utils.events import EventStorage  # noqa: E402


def loader(task):
    for images, targets in batches(task):
        # Its loader hands images on as float32 when they have been transformed.
        yield {"images": images.to(task["device"], non_blocking=True).float(), "targets": targets.to(task["device"]),
               "camids": targets, "img_paths": []}


def main(task):
    set_up(task)
    timing = Timing(task)
    cfg = get_cfg()
    cfg.merge_from_file(os.path.join(root, "configs", "Base-bagtricks.yml"))
    cfg.MODEL.DEVICE = task["device"]
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.BACKBONE.DEPTH = task["depth"]
    cfg.MODEL.BACKBONE.FEAT_DIM = task["features"]
    cfg.MODEL.HEADS.NUM_CLASSES = task["classes"]
    cfg.SOLVER.AMP.ENABLED = task["precision"] == "float16"
    model = build_model(cfg)
    optimizer, wrapper = build_optimizer(cfg, model)
    # Its contiguous parameters need gradients that are zeroed, not dropped.
    optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
    trainer = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(model, loader(task), optimizer, wrapper)
    with EventStorage(0) as storage:
        trainer.storage, trainer.iter = storage, 0
        for _ in range(timing.total()):
            trainer.run_step()
            storage.step()
            timing.step()
    timing.report()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
