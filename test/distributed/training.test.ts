import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { writeTinySet } from '../engine/tiny.js';
import { temporaryFolder } from '../support/scripts.js';
import { skipAt } from './place.js';
import { PLAIN, Trainings } from './trainings.js';

describe('training by several processes', () => {
  const root = temporaryFolder({ after });

  before(async () => {
    await writeTinySet(root);
  });

  const runs = new Trainings(root);

  it('has the losses and results of one process, with 2 and with 4', async () => {
    const [one] = await runs.train('one', 1, PLAIN);
    assert.equal(one!.losses.length, 12);
    for (const ranks of [2, 4]) {
      const notes = await runs.train(`plain${ranks}`, ranks, PLAIN);
      for (const { losses, results } of notes) {
        assert.equal(losses.length, 12);
        for (const [i, loss] of losses.entries()) {
          assert.ok(
            Math.abs(loss - one!.losses[i]!) < 1e-5,
            `${ranks} ranks, step ${i}: ${loss}, ${one!.losses[i]}`,
          );
        }
        assert.deepEqual(results, one!.results);
      }
    }
  });

  it('has the losses of one GPU, with two', skipAt('nccl/cuda'), async () => {
    const onGpu = [...PLAIN, 'MODEL.DEVICE', 'cuda'];
    const [one] = await runs.train('gpu1', 1, onGpu);
    const [two, other] = await runs.train('gpu2', 2, onGpu);
    assert.deepEqual(other!.losses, two!.losses);
    const worst = Math.max(...two!.losses.map((loss, i) => Math.abs(loss - one!.losses[i]!)));
    assert.ok(worst < 1e-3, `${one!.losses}; ${two!.losses}`);
  });

  it('fills the memory of MoCo with the features of all', async () => {
    const moco = [...PLAIN, 'MODEL.META_ARCHITECTURE', 'MoCo', 'MODEL.QUEUE_SIZE', '16'];
    const [one] = await runs.train('moco1', 1, moco);
    const [two] = await runs.train('moco2', 2, moco);
    const worst = Math.max(...two!.losses.map((loss, i) => Math.abs(loss - one!.losses[i]!)));
    assert.ok(worst < 1e-4, `${one!.losses}; ${two!.losses}`);
    // The images of a batch of four, which processes divide in turns: by batch, in any order.
    const memory = async (name: string): Promise<unknown[]> => {
      const labels = (await runs.weights(name)).find(([key]) =>
        key.endsWith('queue_label'),
      )![1] as number[][];
      return [0, 4, 8, 12].map((at) => labels[0]!.slice(at, at + 4).sort());
    };
    assert.deepEqual(await memory('moco2'), await memory('moco1'));
  });

  it('goes on after a killed rank as if nothing had happened', async () => {
    const whole = await runs.train('whole', 2, []);
    const broken = await runs.train('broken', 2, [], { KILL_AT: '6' });
    // The second attempt begins with the second epoch's first step.
    assert.deepEqual(broken[0]!.losses, whole[0]!.losses.slice(4));
    assert.deepEqual(broken[0]!.results, whole[0]!.results);
    assert.deepEqual(await runs.weights('broken'), await runs.weights('whole'));
  });

  it('writes files by rank 0 only', () => {
    const files = readdirSync(join(root, 'whole'));
    for (const name of ['log.txt', 'log.txt.rank1', 'metrics.json', 'config.yaml', 'model_final.pth']) {
      assert.ok(files.includes(name), `${name} among ${files}`);
    }
    const steps = readFileSync(join(root, 'whole/metrics.json'), 'utf8').trim().split('\n');
    assert.equal(new Set(steps).size, steps.length);
    assert.doesNotMatch(readFileSync(join(root, 'whole/log.txt.rank1'), 'utf8'), /Saving checkpoint/);
  });

  it('stops all processes after the same step when one is asked to', async () => {
    const notes = await runs.train('stopped', 2, [], { STOP_AT: '5' });
    assert.deepEqual(
      notes.map(({ iter, outcome }) => [iter, outcome]),
      [
        [6, 'stopped'],
        [6, 'stopped'],
      ],
    );
    assert.ok(existsSync(join(root, 'stopped/model_interrupted.pth')));
  });

  it('refuses to resume when only some ranks see the checkpoint', async () => {
    const [code, errors] = await runs.run('stopped', 2, [], {
      RESUME: '1',
      OTHER_DIR: join(root, 'elsewhere'),
    });
    assert.notEqual(code, 0);
    assert.match(
      errors,
      /rank 1 has no checkpoint to resume from, but rank 0 would resume at epoch 1, iteration/,
    );
    assert.match(errors, /OUTPUT_DIR \(.*\) must be a folder that all ranks share/);
  });

  it('stopped in mid-epoch and resumed, each rank sees the pictures that it would have seen', async () => {
    const [whole, resumed] = [
      await runs.weights('whole'),
      await runs.train('stopped', 2, [], { RESUME: '1' }),
    ];
    assert.deepEqual(
      resumed.map(({ iter, outcome, losses }) => [iter, outcome, losses.length]),
      [
        [12, 'finished', 6],
        [12, 'finished', 6],
      ],
    );
    assert.deepEqual(await runs.weights('stopped'), whole);
  });
});
