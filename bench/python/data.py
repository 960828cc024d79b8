"""FastReID's training pipeline: decode, resize, pad, crop, flip, to tensor, erase; images a second.

FastReID itself where FASTREID names its folder; else the same steps by torchvision.transforms, or, where that is
missing, by Pillow alone.
"""

import importlib
import json
import os
import random
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageOps

SIZE = (256, 128)
BATCH = 64
VALUE = [123.675, 116.28, 103.53]
torch.set_num_threads(1)


def to_tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float()


def erase(image):
    if random.random() >= 0.5:
        return image
    _, height, width = image.shape
    for _ in range(10):
        area = height * width * random.uniform(0.02, 0.33)
        ratio = float(np.exp(random.uniform(np.log(0.3), np.log(3.3))))
        h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if h < height and w < width:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            image[:, top : top + h, left : left + w] = torch.tensor(VALUE)[:, None, None]
            break
    return image


def plain(picture):
    picture = ImageOps.expand(picture.resize(SIZE[::-1], Image.BICUBIC), 10)
    top, left = random.randint(0, 20), random.randint(0, 20)
    picture = picture.crop((left, top, left + SIZE[1], top + SIZE[0]))
    if random.random() < 0.5:
        picture = picture.transpose(Image.FLIP_LEFT_RIGHT)
    return erase(to_tensor(picture))


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def fastreid(paths):
    """FastReID's own data set, transforms and collation, with these steps switched on."""
    sys.path.insert(0, os.environ["FASTREID"])
    from fastreid.config import get_cfg
    from fastreid.data.build import fast_batch_collator
    from fastreid.data.common import CommDataset
    from fastreid.data.transforms import build_transforms

    cfg = get_cfg()
    cfg.INPUT.FLIP.ENABLED = cfg.INPUT.PADDING.ENABLED = cfg.INPUT.REA.ENABLED = True
    items = [(path, i, 0) for i, path in enumerate(paths)]
    return CommDataset(items, build_transforms(cfg), relabel=True), fast_batch_collator


def torchvision(paths):
    from torchvision import transforms as T

    steps = [
        T.Resize(SIZE, interpolation=T.InterpolationMode.BICUBIC),
        T.Pad(10),
        T.RandomCrop(SIZE),
        T.RandomHorizontalFlip(),
        to_tensor,
        T.RandomErasing(value=VALUE),
    ]
    return Pictures(paths, T.Compose(steps)), None


def pillow(paths):
    return Pictures(paths, plain), None


def choose():
    """What there is to measure, and its name."""
    import PIL

    try:
        if "FASTREID" in os.environ:
            return fastreid, f"FastReID's own pipeline, Pillow {PIL.__version__}"
        importlib.import_module("torchvision.transforms")
        return torchvision, f"torchvision {importlib.import_module('torchvision').__version__}, Pillow {PIL.__version__}"
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        return pillow, f"Pillow {PIL.__version__} alone"


def rate(pictures, collate, workers, passes):
    loader = torch.utils.data.DataLoader(
        pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, collate_fn=collate
    )
    for _ in loader:
        pass
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(passes):
        for _ in loader:
            pass
    images = passes * len(pictures)
    return images / (time.perf_counter() - start), images / (time.process_time() - cpu)


if __name__ == "__main__":
    make, name = choose()
    if len(sys.argv) < 2:
        print(name)
        sys.exit()
    folder = sys.argv[1]
    pictures, collate = make([os.path.join(folder, name) for name in sorted(os.listdir(folder))])
    one, two = (rate(pictures, collate, workers, 2)[0] for workers in (1, 2))
    print(json.dumps({
        "images a CPU second": rate(pictures, collate, 0, 2)[1],
        "images a second, 1 worker": one,
        "images a second, 2 workers": two,
        "second worker, times one": two / one,
    }))
