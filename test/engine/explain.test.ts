import assert from 'node:assert/strict';
import { test } from 'node:test';
import sharp from 'sharp';
import { renderPng } from '../../src/charts/index.js';
import { drawOver, explainPair, explanationPicture } from '../../src/engine/index.js';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

torch.setNumThreads(1);
type Tensor = torch.Tensor;

/** Features are the means of three maps; in training it would give losses. */
class Model extends torch.nn.Module<[{ images: Tensor }]> {
  readonly backbone = new torch.nn.Conv2d(3, 4, 3, { stride: 2 });
  readonly head = new torch.nn.Linear(4, 3);
  protected override forward({ images }: { images: Tensor }): Tensor {
    return this.head.call(this.backbone.call(images.div(255)).relu().mean([2, 3]));
  }
}

function modelAndImages(): [Model, Tensor] {
  torch.manualSeed(5);
  const model = new Model().eval();
  return [
    model,
    torch
      .linspace(0, 60, 2 * 3 * 9 * 7)
      .view([2, 3, 9, 7])
      .sin()
      .add(1)
      .mul(127),
  ];
}

const PROGRAM = `
import json, torch
from torch import nn
import torch.nn.functional as F
torch.set_num_threads(1)
torch.manual_seed(5)
backbone, head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 3)
x = (torch.linspace(0, 60, 378).view(2, 3, 9, 7).sin() + 1) * 127
a = backbone(x / 255)
a.retain_grad()
f = head(a.relu().mean([2, 3]))
score = F.cosine_similarity(f[0], f[1], dim=0)
score.backward()
def up(m):
    return F.interpolate(m, size=(9, 7), mode='bilinear', align_corners=False)[:, 0]
act = up(a.detach().pow(2).sum(1, keepdim=True).sqrt())
low = act.amin((1, 2), keepdim=True)
act = (act - low) / (act.amax((1, 2), keepdim=True) - low)
cam = up((a.grad.mean((2, 3), keepdim=True) * a.detach()).sum(1, keepdim=True).relu())
cam = cam / cam.amax((1, 2), keepdim=True)
print(json.dumps([score.item(), act.flatten().tolist(), cam.flatten().tolist()]))
`;

test('similarity and maps are those that PyTorch gives', (t) => {
  if (!pythonTorch()) return t.skip(pythonTorchMissing);
  const [similarity, activation, contribution] = runPython<[number, number[], number[]]>(PROGRAM);
  const [model, images] = modelAndImages();
  model.requiresGrad_(false);
  const found = explainPair(model, images);
  assert.ok(Math.abs(found.similarity - similarity) < 1e-6);
  const { query, match } = found;
  for (const [mine, wanted] of [
    [[query.activation, match.activation], activation],
    [[query.contribution, match.contribution], contribution],
  ] as const) {
    const values = torch
      .stack([...mine])
      .reshape([-1])
      .tolist() as number[];
    assert.equal(values.length, wanted.length);
    values.forEach((value, i) => {
      assert.ok(Math.abs(value - wanted[i]!) < 1e-5, `${i}: ${value} for ${wanted[i]}`);
    });
  }
  assert.ok(contribution.some((value) => value === 0) && contribution.includes(1));
});

test('what cannot be explained is said, and leaves no hooks', () => {
  const [model, images] = modelAndImages();
  assert.throws(() => explainPair(model, images, 'head'), /'head' gives \[2, 3\], not maps/);
  assert.throws(() => explainPair(model, images, 'neck'), /no sub-module 'neck'/);
  assert.throws(() => explainPair(model, images.narrow(0, 0, 1)), /two images .* not \[1, 3, 9, 7\]/);
  const before = torch.liveTensors().length;
  const maps = explainPair(model, images);
  for (const { activation, contribution } of [maps.query, maps.match]) {
    assert.deepEqual(activation.shape, [9, 7]);
    contribution.dispose();
    activation.dispose();
  }
  assert.ok(torch.liveTensors().length <= before + 2);
  for (const parameter of model.parameters()) assert.equal(parameter.grad, null);
});

test('maps are drawn over the pictures, in colours from blue to red', async () => {
  const picture = torch.full([3, 1, 2], 100);
  const drawn = drawOver(picture, torch.tensor([[0, 1]]));
  assert.deepEqual(drawn.tolist(), [[[50, 150]], [[50, 50]], [[122, 50]]]);
  const [model, images] = modelAndImages();
  const explanation = explainPair(model, images);
  const [image, other] = [images.select(0, 0), images.select(0, 1)].map((x) => x.to(torch.uint8)) as [
    Tensor,
    Tensor,
  ];
  const query = { image, head: 'query', colour: '#0072b2', lines: ['a.jpg'] };
  const match = {
    image: other,
    head: 'best right',
    colour: '#1a9641',
    lines: ['id 3', 'b<.jpg'],
    explanation,
  };
  const svg = await explanationPicture(query, [match, { ...match, head: 'best wrong' }]);
  // Three pictures, three activations, and of each match its own agreement and the query's.
  assert.equal(svg.match(/<image /g)!.length, 10);
  for (const text of ['>b&lt;.jpg<', '>id 3<', '>best right<', '>best wrong<', 'stroke="#1a9641"']) {
    assert.ok(svg.includes(text), text);
  }
  const { data, info } = await sharp(await renderPng(svg, { scale: 1 }))
    .raw()
    .toBuffer({ resolveWithObject: true });
  assert.ok(info.width > 500 && info.height > 800);
  assert.ok(new Set(data).size > 50, 'the pictures are in it');
});
