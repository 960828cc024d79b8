import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { tcpStore } from '../../src/torch/distributed/index.js';
import { PLACES, skipAt } from './place.js';
import { runRanks } from './ranks.js';

describe('the end of a process group', { concurrency: 2 }, () => {
  async function again(env: Record<string, string>): Promise<void> {
    const ranks = await runRanks<{ sums: number[]; closed: string }>('distributed/again_rank.js', 2, {
      args: ['again'],
      env,
    });
    for (const { code, stderr, value } of ranks) {
      assert.equal(code, 0, stderr);
      assert.deepEqual(value!.sums, [1, 3, 5]);
      assert.match(value!.closed, /closed/);
    }
  }

  for (const place of PLACES)
    it(
      `lets another begin at the same address, and ends what averaged through it, ${place}`,
      skipAt(place),
      () => again({ RANKS_ON: place }),
    );

  it('lets another begin on a store that outlives it, as that of torchrun’s agent does', async () => {
    const store = await tcpStore('127.0.0.1', 0, { isServer: true });
    await again({ MASTER_PORT: String(store.port), TORCHELASTIC_USE_AGENT_STORE: 'True' });
    store.close();
  });

  it('is not waited for by a DistributedDataParallel that nobody knows any longer', async () => {
    const ranks = await runRanks<Record<string, number>>('distributed/again_rank.js', 2, {
      args: ['forgotten'],
    });
    for (const { code, stderr, value } of ranks) {
      assert.equal(code, 0, stderr);
      assert.ok(value!.held! >= 4 * 512 * 512, `${value!.held} bytes`);
      assert.deepEqual([value!.left, value!.disposed], [0, 0]);
    }
  });

  it('does not wait for ever for a member that hangs', async () => {
    const ranks = await runRanks<number>('distributed/again_rank.js', 2, { args: ['hangs'] });
    for (const { code, stderr } of ranks) assert.equal(code, 0, stderr);
    // Until it is given up.
    assert.ok(ranks[1]!.value! > 1500 && ranks[1]!.value! < 8000, `${ranks[1]!.value} ms`);
  });
});
