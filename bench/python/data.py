"""FastReID's training pipeline on Pillow: decode, resize, pad, crop, flip, to tensor, erase; images a second."""

import json
import os
import random
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageOps

try:
    from torchvision import transforms as T
except Exception:
    T = None

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


if T is None:
    pipeline = plain
else:
    pipeline = T.Compose([
        T.Resize(SIZE, interpolation=T.InterpolationMode.BICUBIC),
        T.Pad(10),
        T.RandomCrop(SIZE),
        T.RandomHorizontalFlip(),
        to_tensor,
        T.RandomErasing(value=VALUE),
    ])


class Pictures(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return pipeline(Image.open(self.paths[index]).convert("RGB"))


def rate(pictures, workers, passes):
    loader = torch.utils.data.DataLoader(
        pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
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
    pictures = Pictures(sys.argv[1])
    one, two = rate(pictures, 1, 2)[0], rate(pictures, 2, 2)[0]
    print(json.dumps({
        "images a CPU second": rate(pictures, 0, 2)[1],
        "images a second, 1 worker": one,
        "images a second, 2 workers": two,
        "second worker, times one": two / one,
    }))
