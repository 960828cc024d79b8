import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { UNREAD } from '../../src/data/labels.js';
import {
  bootstrapIntervals,
  buildReidEvaluator,
  CameraPairs,
  ClasEvaluator,
  checkEvaluation,
  evaluateRank,
  evaluationMode,
  inferenceOnDataset,
  ReidEvaluator,
  type ReidEvaluatorOptions,
  type Results,
} from '../../src/evaluation/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { goldenPath } from '../support/paths.js';

setQuiet(true);
torch.setNumThreads(1);
const arrays = torch.loadSafetensors(goldenPath('eval.safetensors'));
const golden = JSON.parse(readFileSync(goldenPath('eval.json'), 'utf8'));
const numbers = (name: string): number[] => arrays.get(name)!.to(torch.float64).toArray() as number[];
const features = torch.cat([arrays.get('q')!, arrays.get('g')!], 0);
const pids = [...numbers('q_pids'), ...numbers('g_pids')];
const camids = [...numbers('q_camids'), ...numbers('g_camids')];
const NUM_QUERY = 60;

async function evaluate(options: ReidEvaluatorOptions): Promise<Results> {
  const evaluator = new ReidEvaluator(NUM_QUERY, options);
  evaluator.process(features, { pids, camids });
  return evaluator.evaluate();
}

function assertGolden(results: Results, name: string): void {
  for (const measure of ['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP']) {
    const expected = 100 * golden[name][measure];
    assert.ok(Math.abs(results[measure] - expected) < 1e-4, `${name} ${measure}: ${results[measure]}`);
  }
}

for (const [k1, k2, lambda] of [
  [20, 6, 0.3],
  [10, 1, 0.5],
]) {
  test(`COMPAT re-ranking with ${k1}, ${k2}, ${lambda} gives FastReID’s figures`, async () => {
    const results = await evaluate({ rerank: { k1, k2, lambda }, compat: true });
    assertGolden(results, `rank/rerank/k1=${k1},k2=${k2},lambda=${lambda}`);
  });
}

test('with lambda 0 most distances are equal, and ours are in order where FastReID’s sort leaves it to chance', async () => {
  const results = await evaluate({ rerank: { k1: 8, k2: 3, lambda: 0 }, compat: true });
  const theirs = arrays.get('rerank/k1=8,k2=3,lambda=0')!.toTypedArray() as Float32Array;
  const stable = evaluateRank(
    theirs,
    pids.slice(0, NUM_QUERY),
    pids.slice(NUM_QUERY),
    camids.slice(0, NUM_QUERY),
    camids.slice(NUM_QUERY),
  );
  assert.ok(Math.abs(results.mAP - 100 * stable.mAP) < 1e-4);
  assert.ok(Math.abs(results['Rank-1'] - 100 * stable.cmc[0]) < 1e-4);
});

for (const [times, k, alpha] of [
  [1, 5, 3],
  [2, 5, 3],
  [1, 10, 0],
]) {
  test(`query expansion ${times}, ${k}, ${alpha} gives FastReID’s figures`, async () => {
    const results = await evaluate({ aqe: { times, k, alpha } });
    assertGolden(results, `rank/aqe/times=${times},k=${k},alpha=${alpha}`);
  });
}

test('COMPAT verification figures are FastReID’s three, as fractions', async () => {
  const results = await evaluate({ roc: true, compat: true });
  for (const rate of ['0.0001', '0.001', '0.01']) {
    const name = `TPR@FPR=${{ '0.0001': '1e-04', '0.001': '1e-03', '0.01': '1e-02' }[rate]}`;
    // Computed from the distances that these features give; golden ones are FastReID's own.
    assert.ok(Math.abs(results[name] - golden['roc/cosine'][`TPR@FPR=${rate}`][0]) < 1e-3, name);
  }
  assert.equal(results.EER, undefined);
});

test('everything together, in several trials: each measure is the mean over the trials', async () => {
  const options = {
    aqe: { times: 1, k: 4, alpha: 3 },
    rerank: { k1: 10, k2: 3, lambda: 0.3 },
    roc: true,
    singleShot: true,
    recalls: [1, 4],
    budget: 0.05,
  };
  const at = pids.map((_, i) => i);
  const trials = [
    { query: at.slice(0, 30), gallery: at.slice(60) },
    { query: at.slice(30, 60), gallery: at.slice(60) },
  ];
  const run = async (chosen: typeof trials): Promise<Results> => {
    const evaluator = new ReidEvaluator({ trials: chosen, cameras: true }, options);
    evaluator.process(features, { pids, camids });
    return evaluator.evaluate();
  };
  const [both, first, second] = [await run(trials), await run([trials[0]]), await run([trials[1]])];
  assert.deepEqual(Object.keys(first), [
    ...['Rank-1', 'Rank-5', 'Rank-10', 'mAP', 'mINP', 'metric'],
    ...[1, 5, 10].map((k) => `Rank-${k} (single shot)`),
    ...['Recall@1', 'Recall@4', 'RP', 'mAP@R'],
    ...['1e-06', '1e-05', '1e-04', '1e-03', '1e-02', '1e-01'].map((rate) => `TPR@FPR=${rate}`),
    ...['EER', 'AUC'],
  ]);
  for (const name of Object.keys(first)) {
    assert.ok(Math.abs(both[name] - (first[name] + second[name]) / 2) < 1e-9, name);
  }
});

test('METRIC jaccard is re-ranking without the original distance', async () => {
  const jaccard = await evaluate({ metric: 'jaccard', rerank: { k1: 8, k2: 3, lambda: 0.9 } });
  assert.deepEqual(jaccard, await evaluate({ rerank: { k1: 8, k2: 3, lambda: 0 } }));
});

test('evaluating again gives the same', async () => {
  const evaluator = new ReidEvaluator(NUM_QUERY, { aqe: {} });
  for (const from of [0, 100, 200]) {
    const [p, c] = [pids.slice(from, from + 100), camids.slice(from, from + 100)];
    evaluator.process(features.narrow(0, from, 100), { pids: p, camids: c });
  }
  const first = await evaluator.evaluate();
  assert.deepEqual(await evaluator.evaluate(), first);
  assert.deepEqual(first, await evaluate({ aqe: {} }));
});

test('a feature that is not finite is refused, and its image named', () => {
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    const evaluator = new ReidEvaluator(1, { imageName: (i) => `images/${i}.jpg` });
    evaluator.process(torch.zeros([2, 3]), { pids: [1, 2], camids: [0, 0] });
    const bad = torch.tensor([
      [1, 2, 3],
      [1, value, 3],
    ]);
    assert.throws(
      () => evaluator.process(bad, { pids: [1, 2], camids: [0, 0] }),
      /feature of image images\/3\.jpg is not finite/,
    );
  }
});

/** Every step alone, and all together. */
const WAYS: readonly ReidEvaluatorOptions[] = [
  {},
  { metric: 'euclidean' },
  { metric: 'jaccard' },
  { aqe: {} },
  { rerank: {} },
  { rerank: {}, compat: true },
  { roc: true },
  { aqe: {}, rerank: {}, roc: true, singleShot: true, cameraPairs: true, bootstrap: 10 },
];

for (const options of WAYS) {
  const name = JSON.stringify(options);

  test(`one query, and a gallery smaller than every k: ${name}`, async () => {
    const evaluator = new ReidEvaluator(1, options);
    const x = torch.tensor([
      [1, 0],
      [0.9, 0.1],
      [0, 1],
    ]);
    evaluator.process(x, { pids: [1, 1, 2], camids: [0, 1, 1] });
    const results = await evaluator.evaluate();
    for (const measure of ['Rank-1', 'Rank-10', 'mAP', 'mINP', ...(options.roc ? ['AUC'] : [])])
      assert.equal(results[measure], 100, measure);
  });

  test(`nothing left of the gallery for any query: the error says what to look at: ${name}`, async () => {
    const evaluator = new ReidEvaluator(1, options);
    evaluator.process(torch.ones([2, 2]), { pids: [1, 1], camids: [0, 0] });
    await assert.rejects(
      evaluator.evaluate(),
      /none of the 1 queries has a gallery image of the same identity/,
    );
  });

  test(`duplicates: equal images come in gallery order: ${name}`, async () => {
    const x = torch.tensor([3, 4]).expand([12, 2]).contiguous();
    const evaluator = new ReidEvaluator(1, options);
    evaluator.process(x, { pids: [1, ...Array(10).fill(2), 1], camids: [0, ...Array(11).fill(1)] });
    const results = await evaluator.evaluate();
    // There are fewer than re-ranking's neighbours, so that it cannot tell them apart either.
    assert.ok(Math.abs(results.mAP - 100 / 11) < 1e-9, `mAP ${results.mAP}`);
    if (options.roc) assert.equal(results.AUC, 50);
  });
}

test('more or fewer images than were announced give the same', async () => {
  const expected = await evaluate({});
  for (const announced of [1, 100, features.shape[0], 10_000]) {
    const evaluator = new ReidEvaluator(NUM_QUERY, {});
    evaluator.reset(announced);
    for (let from = 0; from < pids.length; from += 50) {
      const to = Math.min(pids.length, from + 50);
      const labels = { pids: pids.slice(from, to), camids: camids.slice(from, to) };
      evaluator.process(features.narrow(0, from, to - from), labels);
    }
    assert.deepEqual(await evaluator.evaluate(), expected, `${announced} announced`);
  }
});

test('mAP@R and R-precision by hand', () => {
  // Hits at ranks 1, 3 and 4 of R = 3.
  const { apAtR, rPrecision, firstRanks } = evaluateRank([1, 2, 3, 4], [7], [7, 8, 7, 7], [0], [1, 1, 1, 1]);
  assert.deepEqual(apAtR, [(1 + 2 / 3) / 3]);
  assert.deepEqual(rPrecision, [2 / 3]);
  assert.deepEqual(firstRanks, [1]);
});

test('confidence intervals: queries of one identity are drawn together', () => {
  const measure = { x: [0, 0, 100, 100] };
  // Two identities of equal queries: the mean of a draw is 0, 50 or 100, each extreme in a quarter of them.
  assert.deepEqual(bootstrapIntervals([1, 1, 2, 2], measure).x, [0, 100]);
  assert.deepEqual(bootstrapIntervals([1, 2, 1, 2], measure).x, [50, 50]);
  const many = Array.from({ length: 400 }, (_, i) => i);
  const [low, high] = bootstrapIntervals(many, { x: many.map((i) => (i % 2) * 100) }).x;
  // 50 ± 1.96 · 50 / √400
  assert.ok(Math.abs(low - 45.1) < 0.8 && Math.abs(high - 54.9) < 0.8, `${low} ${high}`);
});

test('pairs of cameras are ranked on their own', () => {
  const pairs = new CameraPairs([1, 2, 1, 2], [1, 1, 2, 2]);
  pairs.add(0, 1, 0, Float32Array.of(0.5, 0.4, 0.1, 0.9));
  pairs.add(1, 2, 1, Float32Array.of(0, 0, 0.3, 0.2));
  assert.deepEqual(pairs.result(), [
    { query: 0, gallery: 1, queries: 1, rank1: 0, mAP: 0.5 },
    { query: 0, gallery: 2, queries: 1, rank1: 1, mAP: 1 },
    { query: 1, gallery: 2, queries: 1, rank1: 1, mAP: 1 },
  ]);
});

test('classification: the share of right classes', () => {
  const evaluator = new ClasEvaluator();
  const logits = torch.tensor([
    [0.1, 0.9, 0],
    [2, 1, 0],
  ]);
  evaluator.process(logits, { pids: [1, 0] });
  evaluator.process(logits, { pids: [1, 2] });
  assert.deepEqual(evaluator.evaluate(), { 'Acc@1': 75, metric: 75 });
  assert.throws(
    () => evaluator.process(logits, { pids: [1, 3] }),
    /image number 5 has class 3, but the model knows classes 0 to 2/,
  );
  evaluator.reset();
  assert.throws(() => evaluator.evaluate(), /no images/);
});

test('classification: images that could not be read do not count', () => {
  const evaluator = new ClasEvaluator();
  const logits = torch.tensor([
    [0.1, 0.9],
    [2, 1],
    [0, 1],
  ]);
  evaluator.process(logits, { pids: [1, UNREAD, 0] });
  assert.equal(evaluator.evaluate()['Acc@1'], 50);
  evaluator.reset();
  evaluator.process(logits, { pids: [UNREAD, UNREAD, UNREAD] });
  assert.throws(() => evaluator.evaluate(), /none of the 3 images could be read/);
});

test('mirrored images: the features are the means of both', async () => {
  const images = torch.rand([2, 3, 4, 4]);
  const model = {
    training: false,
    train: () => undefined,
    eval: () => undefined,
    // Looks at the left column only.
    call: (batch: { images: torch.Tensor }) => batch.images.select(3, 0).flatten(1),
  };
  const batch = {
    images,
    targets: torch.tensor([1, 1], { dtype: torch.int64 }),
    camids: torch.tensor([0, 1], { dtype: torch.int64 }),
    dispose: () => undefined,
  };
  const seen: torch.Tensor[] = [];
  const evaluator = {
    reset: () => undefined,
    process: (f: torch.Tensor) => void seen.push(f.keep()),
    evaluate: () => ({}),
  };
  const loader = (async function* () {
    yield batch;
  })();
  await inferenceOnDataset(model, loader, evaluator, { mirror: (x) => x.flip([3]) });
  const expected = images.select(3, 0).add(images.select(3, 3)).div(2).flatten(1);
  assert.ok(seen[0].equal(expected));
});

test('mirrored images: a feature that only the mirror image spoils names its image', async () => {
  const images = torch.ones([2, 3, 4, 4]);
  images.select(0, 1).select(2, 3).fill_(Number.NaN);
  const model = {
    training: false,
    train: () => undefined,
    eval: () => undefined,
    call: (batch: { images: torch.Tensor }) => batch.images.select(3, 0).flatten(1),
  };
  const loader = (async function* () {
    const numbers = torch.tensor([1, 1], { dtype: torch.int64 });
    yield { images, targets: numbers, camids: numbers, dispose: () => undefined };
  })();
  const evaluator = new ReidEvaluator(1, { imageName: (i) => `images/${i}.jpg` });
  await assert.rejects(
    inferenceOnDataset(model, loader, evaluator, { mirror: (x) => x.flip([3]) }),
    /feature of image images\/1\.jpg is not finite/,
  );
});

test('the configuration’s keys reach the evaluator, and the mode says them', async () => {
  const cfg = getCfg().mergeFromList([
    ...[
      'TEST.RERANK.ENABLED',
      'True',
      'TEST.RERANK.K1',
      '10',
      'TEST.RERANK.K2',
      '1',
      'TEST.RERANK.LAMBDA',
      '0.5',
    ],
    ...['TEST.RANKS', '[1, 5, 10]', 'TEST.BOOTSTRAP', '50', 'TEST.CAMERA_PAIRS', 'True'],
    ...['COMPAT', 'fastreid'],
  ]);
  const evaluator = buildReidEvaluator(cfg, NUM_QUERY);
  evaluator.process(features, { pids, camids });
  assertGolden(await evaluator.evaluate(), 'rank/rerank/k1=10,k2=1,lambda=0.5');
  const [details] = evaluator.lastDetails;
  assert.ok(details.confidence!.mAP[0] < 30 && details.confidence!.mAP[1] > 31);
  assert.ok(details.cameraPairs!.length > 1);
  assert.equal(
    evaluationMode(cfg),
    'cosine distance, re-ranking (k1 10, k2 1, lambda 0.5), COMPAT: fastreid',
  );
  cfg.mergeFromList(['TEST.METRIC', 'jaccard', 'TEST.FLIP.ENABLED', 'True', 'COMPAT', '']);
  assert.equal(evaluationMode(cfg), 'jaccard distance (k1 10, k2 1), mirrored images, COMPAT: none');
});

test('values that cannot be are refused by their keys, before anything is evaluated', () => {
  for (const [options, message] of [
    [{ metric: 'manhattan' }, /TEST.METRIC.*use 'cosine', 'euclidean' or 'jaccard'/],
    [{ ranks: [0] }, /TEST.RANKS: ranks are whole numbers from 1 on, got 0/],
    [{ ranks: [] }, /TEST.RANKS is empty/],
    [{ recalls: [1.5] }, /TEST.RETRIEVAL.RECALLS: .* got 1.5/],
    [{ bootstrap: -1 }, /TEST.BOOTSTRAP must be a number of draws, or 0 for none, got -1/],
    [{ aqe: { k: 0 } }, /TEST.AQE.QE_K must be a whole number from 1 on, got 0/],
    [{ aqe: { times: 0.5 } }, /TEST.AQE.QE_TIME/],
    [{ aqe: { alpha: -1 } }, /TEST.AQE.ALPHA must be a number from 0 on, got -1/],
    [{ rerank: { k1: 0 } }, /TEST.RERANK.K1/],
    [{ rerank: { k2: 0 } }, /TEST.RERANK.K2/],
    [{ rerank: { lambda: 1.5 } }, /TEST.RERANK.LAMBDA must be between 0 and 1, got 1.5/],
    [{ rerank: { lambda: Number.NaN } }, /TEST.RERANK.LAMBDA/],
    [{ budget: 0 }, /TEST.MEMORY_BUDGET must be more than 0 MiB, got 0/],
  ] as const) {
    assert.throws(() => new ReidEvaluator(1, options), message);
  }
  checkEvaluation(getCfg().mergeFromList(['TEST.RERANK.LAMBDA', '2.0'])); // re-ranking is off
  const wrong = ['TEST.RERANK.ENABLED', 'True', 'TEST.RERANK.LAMBDA', '2.0'];
  assert.throws(() => checkEvaluation(getCfg().mergeFromList(wrong)), /TEST.RERANK.LAMBDA/);
  assert.throws(() => checkEvaluation(getCfg().mergeFromList(['TEST.EVALUATOR', 'Clas'])), /ClasEvaluator/);
});

test('where no query, or nothing of the gallery, could be read, that is what the error says', async () => {
  const unread = (from: number, to: number) => pids.map((pid, i) => (i >= from && i < to ? UNREAD : pid));
  for (const [labels, message] of [
    [unread(0, NUM_QUERY), /none of the 60 query images could be read/],
    [unread(NUM_QUERY, pids.length), /none of the \d+ gallery images could be read/],
  ] as const) {
    const evaluator = new ReidEvaluator(NUM_QUERY);
    evaluator.process(features, { pids: labels, camids });
    await assert.rejects(evaluator.evaluate(), message);
  }
});
