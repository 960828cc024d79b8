import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { PLACES, skipAt } from './place.js';
import { runRanks } from './ranks.js';

type Results = Record<string, unknown>;

for (const place of PLACES)
  describe(`collectives of two processes, ${place}`, skipAt(place), () => {
    let results: Results[];

    before(async () => {
      const ranks = await runRanks<Results>('distributed/collectives_rank.js', 2, {
        env: { RANKS_ON: place },
      });
      for (const { code, stderr, value } of ranks) assert.ok(code === 0 && value, stderr);
      results = ranks.map(({ value }) => value as Results);
    });

    /** What both ranks got under a name. */
    const both = (name: string): unknown[] => results.map((r) => r[name]);
    const same = (name: string, expected: unknown): void =>
      assert.deepEqual(both(name), [expected, expected], name);

    it('know their rank and number', () => {
      assert.deepEqual(both('rank'), [0, 1]);
      same('size', 2);
    });

    it('broadcast, of any layout and dtype', () => {
      same('broadcast', [
        [10, 11],
        [12, 13],
      ]);
      same('broadcastStrided', [
        [10, 12],
        [11, 13],
      ]);
      same('broadcastBool', [true, false]);
      same('broadcastBf16', [
        [10, 11],
        [12, 13],
      ]);
    });

    it('reduce, with every operator', () => {
      same('sum', [
        [10, 12],
        [14, 16],
      ]);
      same('avg', [
        [5, 6],
        [7, 8],
      ]);
      same('product', [
        [0, 11],
        [24, 39],
      ]);
      same('min', [
        [0, 1],
        [2, 3],
      ]);
      same('max', [
        [10, 11],
        [12, 13],
      ]);
      same('half', [
        [10, 12],
        [14, 16],
      ]);
      same('bf16', [
        [10, 12],
        [14, 16],
      ]);
      same('ints', [2 ** 41 + 1]);
      if (place === 'gloo/cpu') same('bor', [3]);
      same('strided', [
        [10, 14],
        [12, 16],
      ]);
      same('scalar', 3);
      assert.deepEqual(results[1]!.reduce, [
        [10, 12],
        [14, 16],
      ]);
    });

    it('gather, even and uneven', () => {
      for (const name of ['allGather', 'allGatherStacked']) {
        same(name, [
          [
            [0, 2],
            [1, 3],
          ],
          [
            [10, 12],
            [11, 13],
          ],
        ]);
      }
      same('uneven', [
        [[0, 1]],
        [
          [10, 11],
          [12, 13],
        ],
      ]);
      same('unevenEmpty', [
        [0, 2],
        [1, 2],
      ]);
      assert.deepEqual(both('gather'), [null, [[[0, 1]], [[10, 11]]]]);
    });

    it('scatter, and exchange parts', () => {
      assert.deepEqual(both('scatter'), [
        [1, 1],
        [7, 7],
      ]);
      assert.deepEqual(both('reduceScatter'), [
        [
          [10, 12],
          [14, 16],
        ],
        [
          [18, 20],
          [22, 24],
        ],
      ]);
      assert.deepEqual(both('allToAll'), [
        [
          [0, 1],
          [2, 3],
          [10, 11],
          [12, 13],
        ],
        [
          [4, 5],
          [6, 7],
          [14, 15],
          [16, 17],
        ],
      ]);
      assert.deepEqual(both('allToAllUneven'), [
        [
          [0, 1],
          [10, 11],
          [12, 13],
          [14, 15],
        ],
        [
          [2, 3],
          [4, 5],
        ],
      ]);
    });

    it('send and receive', () => {
      assert.deepEqual(both('received'), [
        [8, 9],
        [3, 4],
      ]);
    });

    it('send and receive at once', () => {
      assert.deepEqual(
        both('exchanged'),
        [10, 0].map((first) => [
          [[first, first + 1]],
          [
            [first, first + 2],
            [first + 1, first + 3],
          ],
        ]),
      );
      same('exchangedNothing', []);
    });

    it('exchange JavaScript values', () => {
      same('objects', [
        { name: '', map: [[0, [0]]] },
        { name: 'xxxxx', map: [[1, [1]]] },
      ]);
      assert.deepEqual(both('gathered'), [null, ['rank 0', 'rank 1']]);
      same('told', { answer: 42 });
    });

    it('run side by side, off the JavaScript thread', () => {
      same(
        'many',
        Array.from({ length: 8 }, (_, i) => [15 - 2 * i, 15 - 2 * i, 15 - 2 * i]),
      );
      assert.ok((results[0]!.ticks as number) > 3, `${results[0]!.ticks} turns of the event loop`);
    });

    it('work in groups of some', () => {
      assert.deepEqual(both('alone'), [null, [0, 1, [[10, 11]]]]);
      assert.deepEqual(both('both'), [
        [0, [0, 1], [2]],
        [1, [0, 1], [2]],
      ]);
    });

    it('refuse what cannot be, with the reason', () => {
      const [broadcast, allToAll, reduceScatter, scatter, exchange, tag, bor] = results[0]!
        .refused as string[];
      assert.match(broadcast!, /rank 2 is not in this group of 2/);
      assert.match(allToAll!, /3 rows do not make 2 parts/);
      assert.match(reduceScatter!, /2 processes cannot share 3 rows/);
      assert.match(scatter!, /one a rank; got 0/);
      assert.match(exchange!, /tensors on cpu and on meta go separately/);
      if (place === 'gloo/cpu') return;
      assert.match(tag!, /NCCL knows no tags/);
      assert.match(bor!, /Cannot use ReduceOp.BOR with NCCL/);
    });
  });
