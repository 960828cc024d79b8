import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { writeEvaluation } from '../../src/engine/evaluation-files.js';
import { DefaultTrainer, defaultSetup } from '../../src/engine/index.js';
import { flattenResults } from '../../src/evaluation/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig } from './tiny.js';
import { tinyFolder } from './tiny-folder.js';

setQuiet(true);
torch.setNumThreads(1);
const folder = tinyFolder('evaluation');
test('every feature together in a run: table, CSV and JSON have the same figures', async () => {
  const out = join(folder, 'out');
  const cfg = tinyConfig(out, [
    ...['TEST.FLIP.ENABLED', true, 'TEST.AQE.ENABLED', true, 'TEST.RERANK.ENABLED', true],
    ...['TEST.ROC.ENABLED', true, 'TEST.BOOTSTRAP', 20, 'TEST.CAMERA_PAIRS', true],
    ...['TEST.RETRIEVAL.ENABLED', true, 'DATASETS.TESTS', '("EmojiReID",)'],
  ]);
  defaultSetup(cfg, { seed: 1, overrides: [] });
  const trainer = new DefaultTrainer(cfg, { seed: 1 });
  const results = flattenResults(await trainer.test());
  await trainer.close();
  const json = JSON.parse(readFileSync(join(out, 'evaluation.json'), 'utf8'));
  assert.match(json.mode, /mirrored images, query expansion .* re-ranking .* COMPAT: none/);
  assert.deepEqual(json.sets.EmojiReID.results, results);
  const [trial] = json.sets.EmojiReID.trials;
  assert.equal(trial.queries + trial.queriesWithoutMatch, 6);
  assert.equal(trial.roc.points.length, 6);
  assert.equal(trial.confidence95.mAP.length, 2);
  assert.ok(trial.cameraPairs.length > 0);
  const [head, row] = readFileSync(join(out, 'evaluation.csv'), 'utf8').trim().split('\n');
  assert.deepEqual(head.split(',').slice(2), Object.keys(results));
  assert.deepEqual(row.split('",')[1].split(',').map(Number), Object.values(results));
});

test('mirrored images: FastReID normalises their pixels twice, and so does COMPAT', async () => {
  const overrides = ['TEST.FLIP.ENABLED', true];
  const figures: number[] = [];
  for (const compat of ['', 'fastreid']) {
    torch.manualSeed(5);
    const cfg = tinyConfig(join(folder, `flip${compat}`), [...overrides, 'COMPAT', compat]);
    const model = DefaultTrainer.buildModel(
      cfg.clone().defrost().mergeFromList(['MODEL.HEADS.NUM_CLASSES', 6]),
    );
    const seen: torch.Tensor[] = [];
    model.eval();
    model.registerForwardPreHook((_module, inputs) => {
      seen.push((inputs[0] as { images: torch.Tensor }).images.to(torch.float32).clone().keep());
    });
    await DefaultTrainer.test(cfg, model);
    const [upright, mirrored] = seen;
    const pixels =
      compat === ''
        ? upright
        : (model as unknown as { normalize(x: torch.Tensor): torch.Tensor }).normalize(upright);
    figures.push(
      Number(
        mirrored
          .sub(pixels.flip([3]))
          .abs()
          .max()
          .item(),
      ),
    );
  }
  assert.deepEqual(figures, [0, 0]);
});

test('cells with commas and quotes are quoted; measures that a set lacks stay empty', () => {
  writeEvaluation(join(folder, 'csv'), 'a, "b"', {
    'x,y': { results: { A: 1 } },
    z: { results: { B: 2.5 } },
  });
  assert.equal(
    readFileSync(join(folder, 'csv/evaluation.csv'), 'utf8'),
    'Dataset,Mode,A,B\n"x,y","a, ""b""",1,\nz,"a, ""b""",,2.5\n',
  );
});
