import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReidEvaluator } from '../../src/evaluation/index.js';
import { makeTest, type RankList, rankLists, sortLists } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);

const image = fc.record({
  values: fc.tuple(fc.integer({ min: -2, max: 2 }), fc.integer({ min: -2, max: 2 })),
  identity: fc.integer({ min: 0, max: 3 }),
  camera: fc.integer({ min: 0, max: 2 }),
  query: fc.boolean(),
});

test('lists, precision and pair distances equal the definition', () => {
  fc.assert(
    fc.property(
      fc.array(image, { minLength: 2, maxLength: 25 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 6 }),
      (images, cameras, top) => {
        const rows = images.map((_, i) => i);
        const query = rows.filter((i) => images[i].query);
        // Without cameras, queries may be in the gallery as well.
        const gallery = cameras ? rows.filter((i) => !images[i].query) : rows;
        if (query.length === 0 || gallery.length === 0) return;
        const distance = (a: number, b: number): number =>
          images[a].values.reduce((sum, x, i) => sum + (x - images[b].values[i]) ** 2, 0);
        const counts = (q: number, g: number): boolean =>
          cameras
            ? images[q].identity !== images[g].identity || images[q].camera !== images[g].camera
            : q !== g;
        const expected = query.map((q) => {
          const order = gallery
            .filter((g) => counts(q, g))
            .map((row) => ({
              row,
              distance: distance(q, row),
              right: images[row].identity === images[q].identity,
            }))
            .sort((a, b) => a.distance - b.distance);
          const hits = order.flatMap(({ right }, i) => (right ? [i + 1] : []));
          const ap = hits.reduce((sum, rank, i) => sum + (i + 1) / rank, 0) / hits.length;
          return { query: q, ap: hits.length > 0 ? ap : undefined, nearest: order.slice(0, top) };
        });
        const data = makeTest({
          features: torch.tensor(images.map(({ values }) => [...values])).to(torch.float32),
          paths: rows.map(String),
          identities: images.map(({ identity }) => identity),
          cameras: images.map(({ camera }) => camera),
          protocol: { trials: [{ query, gallery }], cameras },
        });
        const run = () => torch.scope(() => rankLists(data, { metric: 'euclidean', top }));
        if (expected.every(({ ap }) => ap === undefined)) {
          assert.throws(run, /none of the \d+ queries/);
          return;
        }
        const { lists, pairs } = run();
        assert.deepEqual(lists, expected);
        const counted = query.flatMap((q) => gallery.filter((g) => counts(q, g)).map((g) => [q, g]));
        const genuine = counted.filter(([q, g]) => images[q].identity === images[g].identity).length;
        if (genuine === counted.length) assert.equal(pairs, undefined);
        else assert.deepEqual([pairs?.roc.genuine, pairs?.roc.impostor], [genuine, counted.length - genuine]);
      },
    ),
    { numRuns: 300 },
  );
});

test('orders: worst, best, confident mistakes', () => {
  const list = (query: number, ap: number | undefined, distance: number, right: boolean): RankList => ({
    query,
    ap,
    nearest: [{ row: 9, distance, right }],
  });
  const lists = [
    list(0, 0.5, 0.3, false),
    list(1, undefined, 0.1, false),
    list(2, 0.9, 0.2, true),
    list(3, 0.1, 0.2, false),
    list(4, 0.5, 0.4, false),
  ];
  const order = (name: Parameters<typeof sortLists>[1]): number[] =>
    sortLists(lists, name).map(({ query }) => query);
  assert.deepEqual(order('worst'), [3, 0, 4, 2]);
  assert.deepEqual(order('best'), [2, 0, 4, 3]);
  assert.deepEqual(order('mistakes'), [3, 0, 4]);
  assert.deepEqual(order('none'), [0, 1, 2, 3, 4]);
});

test('a feature that is not finite is refused, and its image named', () => {
  const data = makeTest({
    features: torch.tensor([
      [1, 0],
      [Number.NaN, 0],
      [0, 1],
    ]),
    paths: ['a.jpg', 'b.jpg', 'c.jpg'],
    identities: [1, 1, 1],
  });
  assert.throws(() => rankLists(data), /the feature of b.jpg is not finite/);
});

test('ranked as the evaluation does, with query expansion and re-ranking, in the chosen trial', async () => {
  const n = 40;
  const features = torch.rand([n, 8], { generator: new torch.Generator().manualSeed(3) });
  const before = features.toArray();
  const rows = Array.from({ length: n }, (_, i) => i);
  const [some, others] = [rows.filter((i) => i % 2 === 0), rows.filter((i) => i % 2 === 1)];
  const data = makeTest({
    features,
    paths: rows.map(String),
    identities: rows.map((i) => i % 5),
    cameras: rows.map((i) => i % 3),
    protocol: {
      trials: [
        { query: some, gallery: others },
        { query: others, gallery: some },
      ],
      cameras: true,
    },
  });
  const options = { aqe: { k: 3 }, rerank: { k1: 5, k2: 2, lambda: 0.3 } };
  const evaluator = new ReidEvaluator(data.protocol, options);
  evaluator.process(features, data);
  await evaluator.evaluate();
  for (const trial of [0, 1]) {
    const { ranking, lists, distance } = rankLists(data, { ...options, trial });
    assert.deepEqual(ranking, evaluator.lastDetails[trial].ranking);
    assert.equal(distance, 're-ranked distance');
    assert.deepEqual(
      lists.map(({ query }) => query),
      [some, others][trial],
    );
  }
  assert.deepEqual(features.toArray(), before, 'features stay as they are');
  assert.throws(() => rankLists(data, { trial: 2 }), /no trial 3: the test has 2/);
});
