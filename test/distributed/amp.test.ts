import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { writeTinySet } from '../engine/tiny.js';
import { temporaryFolder } from '../support/scripts.js';
import { PLACES, skipAt } from './place.js';
import { runRanks } from './ranks.js';
import { PLAIN, Trainings } from './trainings.js';

/** Gradients are clipped in every step, and the first convolution is frozen for five of the twelve. */
const TOGETHER = [
  ...['SOLVER.AMP.ENABLED', 'True', 'SOLVER.CLIP_GRADIENTS.ENABLED', 'True'],
  ...['SOLVER.CLIP_GRADIENTS.CLIP_TYPE', 'norm', 'SOLVER.CLIP_GRADIENTS.CLIP_VALUE', '0.01'],
  ...['MODEL.FREEZE_LAYERS', '("backbone.conv1",)', 'SOLVER.FREEZE_ITERS', '5'],
];

describe('mixed precision by several processes', () => {
  const root = temporaryFolder({ after });
  const runs = new Trainings(root);

  before(() => writeTinySet(root));

  it('has the losses of one process, with clipping and frozen layers', async () => {
    const overrides = [...PLAIN, ...TOGETHER, 'SOLVER.AMP.DTYPE', 'bfloat16'];
    const [one] = await runs.train('one', 1, overrides);
    const [two, other] = await runs.train('two', 2, overrides);
    assert.deepEqual(other!.losses, two!.losses);
    // Gradients of weights are rounded to bfloat16 by each process, before they are averaged.
    const worst = Math.max(...two!.losses.map((loss, i) => Math.abs(loss - one!.losses[i]!)));
    assert.ok(worst < 2e-3, `${one!.losses}; ${two!.losses}`);
    assert.notEqual(one!.losses[0], one!.losses.at(-1));
  });

  it('goes on in the midst of it as if nothing had happened', async () => {
    // float16, whose scale of the losses belongs into the checkpoint; stopped while a layer is frozen.
    const overrides = [...TOGETHER, 'SOLVER.AMP.DTYPE', 'float16'];
    const whole = await runs.train('whole', 2, overrides);
    const broken = await runs.train('broken', 2, overrides, { KILL_AT: '6' });
    assert.deepEqual(broken[0]!.losses, whole[0]!.losses.slice(4));
    assert.deepEqual(await runs.weights('broken'), await runs.weights('whole'));
  });

  for (const place of PLACES)
    it(
      `leaves out a step, in all processes, whose gradients overflow in one, ${place}`,
      skipAt(place),
      async () => {
        const ranks = await runRanks<{ scales: number[]; weights: number[][] }>(
          'distributed/amp_rank.js',
          2,
          { env: { RANKS_ON: place } },
        );
        for (const { code, stderr } of ranks) assert.equal(code, 0, stderr);
        const [first, second] = ranks.map(({ value }) => value!);
        assert.deepEqual(second, first);
        assert.deepEqual(first!.scales, [1024, 512, 512, 512]);
        const changed = first!.weights
          .slice(1)
          .map((weights, i) => weights.join() !== first!.weights[i]!.join());
        assert.deepEqual(changed, [true, false, true, true]);
        assert.ok(first!.weights.flat().every(Number.isFinite));
      },
    );
});
