import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { chooseImages } from '../../src/cli/images.js';
import { buildReidTestLoader, buildReidTrainLoader, OwnDataset, type OwnItem } from '../../src/data/index.js';
import { Checkpointer, DefaultPredictor, DefaultTrainer, explainPair } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import { buildModel, callBackbone } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { COLOUR, ColourBackbone, seen } from './colour.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';

setQuiet(true);
torch.setNumThreads(1);
const folder = tinyFolder('cameras');
// Training sees cameras 2, 3 and 4, the query is of camera 1, the gallery of 2, 3 and 4.
test('training and evaluation hand the cameras to the backbone, by the numbers of training', async () => {
  const cfg = tinyConfig(join(folder, 'run'), [...COLOUR, 'SOLVER.MAX_EPOCH', 1]);
  const trainer = new DefaultTrainer(cfg, { seed: 3 });
  const initial = trainer.model.stateDict().get('backbone.sie_embed')!.detach().clone();
  await trainer.train();
  const trained = trainer.model.stateDict().get('backbone.sie_embed')!;
  const moved = trained.sub(initial).abs().sum([1, 2]).tolist() as number[];
  assert.ok(moved.every((change) => change > 0));
  assert.deepEqual([...seen.training].sort(), [0, 1, 2]);
  assert.deepEqual([...seen.evaluation].sort(), [-1, 0, 1, 2]);
});

test('without side information, test sets keep their numbers', async () => {
  const numbers = async (overrides: unknown[]): Promise<number[]> => {
    const { loader } = buildReidTestLoader(tinyConfig(folder, overrides), 'EmojiReID', { log: () => {} });
    const found = new Set<number>();
    for await (const batch of loader) {
      for (const camid of batch.camids.tolist() as (number | bigint)[]) found.add(Number(camid));
      batch.dispose();
    }
    return [...found];
  };
  assert.deepEqual(await numbers([]), [0, 1, 2, 3]);
  assert.deepEqual(await numbers(COLOUR), [-1, 0, 1, 2]);
  assert.deepEqual(await numbers([...COLOUR, 'DATASETS.NAMES', '()']), [-1, -2, -3, -4]);
});

test('features of images, with the numbers of their cameras, are those of evaluation', async () => {
  const weights = ['MODEL.WEIGHTS', join(folder, 'weights.pth')];
  const cfg = tinyConfig(folder, [...COLOUR, ...weights, 'DATALOADER.NUM_WORKERS', 1]);
  const network = buildModel(cfg, () => {});
  torch.noGrad(() => network.stateDict().get('backbone.sie_embed')!.normal_());
  await new Checkpointer(network, folder).save('weights');
  const set = await chooseImages(cfg, [], { dataset: 'EmojiReID', split: 'test' });
  assert.deepEqual(set.trainingCameras?.slice(5, 9), [-1, 0, 1, 2]);
  const train = await chooseImages(cfg, [], { dataset: 'EmojiReID', split: 'train' });
  assert.deepEqual(train.trainingCameras?.slice(0, 3), [0, 1, 2]);

  const { loader } = buildReidTestLoader(cfg, 'EmojiReID', { log: () => {} });
  const evaluated: torch.Tensor[] = [];
  for await (const batch of loader) evaluated.push(network.eval().embed(batch));
  await loader.close();
  const predictor = await DefaultPredictor.create(cfg);
  const close = (features: torch.Tensor): boolean =>
    torch.allclose(features, torch.cat(evaluated, 0), 1e-5, 1e-5);
  assert.ok(close(await predictor.embed(set.paths, { cameras: set.trainingCameras })));
  assert.ok(!close(await predictor.embed(set.paths, { cameras: set.paths.map(() => -1) })));
  await assert.rejects(predictor.embed(set.paths, { cameras: [1] }), /1 cameras for 24 images/);
});

test('two images are explained with the cameras that they are said to be of', () => {
  const network = buildModel(tinyConfig(folder, COLOUR), () => {}).eval();
  torch.noGrad(() => network.stateDict().get('backbone.sie_embed')!.normal_());
  const images = torch.rand([2, 3, 8, 8]).mul(255);
  const similarity = (...numbers: number[]): number => {
    const camids = torch.tensor(numbers, { dtype: torch.int64 });
    const explained = explainPair(network, images, 'backbone', camids).similarity;
    const [a, b] = [0, 1].map((row) => network.embed({ images, camids }).select(0, row));
    assert.ok(Math.abs(explained - Number(torch.cosine_similarity(a, b, { dim: 0 }).item())) < 1e-5);
    return explained;
  };
  assert.notEqual(similarity(0, 2), similarity(-1, 2));
});

test('more cameras than embeddings: how many there are is said', () => {
  const cfg = tinyConfig(folder, ['MODEL.BACKBONE.SIE_CAMERAS', 2]);
  assert.throws(
    () => buildReidTrainLoader(cfg, { log: () => {} }),
    /SIE_CAMERAS is 2, but there are 3 cameras in DATASETS.NAMES \(EmojiReID\): set it to 3, or to 0/,
  );
});

test('training sets that are not there: why they are needed is said', () => {
  const cfg = tinyConfig(folder, [...COLOUR, 'DATASETS.NAMES', '("Market1501",)']);
  assert.throws(
    () => buildReidTestLoader(cfg, 'EmojiReID', { log: () => {} }),
    /which camera has which embedding follows from the training sets[\s\S]*does not exist/,
  );
});

test('a picture of an unknown camera gets the mean of the embeddings, in evaluation only', () => {
  const backbone = new ColourBackbone();
  torch.noGrad(() => backbone.sie_embed.copy_(torch.arange(48).view([3, 1, 16])));
  const camids = torch.tensor([-2, 2], { dtype: torch.int64 });
  const images = torch.zeros([2, 3, 4, 4]);
  const added = torch.noGrad(() =>
    callBackbone(backbone.eval(), images, camids)
      .mean([2, 3])
      .sub(backbone.conv.bias as torch.Tensor),
  );
  const expected = torch.stack([torch.arange(16, 32), torch.arange(32, 48)]).float();
  assert.ok(torch.allclose(added, expected, 1e-5, 1e-5));
  assert.throws(() => callBackbone(backbone.train(), images, camids), /image of camera -2/);
});

class Own extends OwnDataset {
  protected override readItems(): OwnItem[] {
    const item = (path: string, part: OwnItem['part'], camera?: string): OwnItem => {
      return { path, identity: path[0], camera, part };
    };
    return [
      ...[item('a1', 'train', 'yard'), item('a2', 'train', 'door')],
      ...[item('b1', 'test', 'yard'), item('b2', 'test', 'gate')],
    ];
  }
}

test("cameras of one's own pictures have the same name in training and test", () => {
  const own = new Own('mine');
  assert.deepEqual(
    own.train.map(({ camid }) => camid),
    ['mine_yard', 'mine_door'],
  );
  assert.deepEqual(
    own.testSet().images.map((item) => own.trainingCamera(item)),
    ['mine_yard', 'mine_gate'],
  );
});
