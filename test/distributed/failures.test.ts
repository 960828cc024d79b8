import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type RankResult, type RunOptions, runRanks } from './ranks.js';

const run = (mode: string, options: RunOptions = {}): Promise<RankResult<string>[]> =>
  runRanks('distributed/failures_rank.js', 2, { args: [mode], ...options });

describe('a process that is missing', { concurrency: 2 }, () => {
  it('is named when it was killed', async () => {
    const [first] = await run('killed');
    assert.match(first!.value ?? '', /^DistributedError: all_reduce: rank 1 has shown no sign of life/);
  });

  it('is quoted when it failed by itself', async () => {
    const [first] = await run('fails');
    assert.match(first!.value ?? '', /rank 1 failed: the sky is falling/);
  });

  it('ends the others when it is stopped, though they wait in a collective', async () => {
    const [first, second] = await run('stopped', {
      // Rank 1 stops itself; it is ended once rank 0 has ended.
      onExit: (rank, children) => rank === 0 && children[1]!.kill('SIGKILL'),
    });
    assert.equal(first!.code, 75);
    assert.equal(second!.signal, 'SIGKILL');
    assert.match(first!.stderr, /error: rank 0: rank 1 has shown no sign of life for \d+ s .*--resume/);
  });

  it('ends the others when it has failed but does not end', async () => {
    const [first] = await run('lingers', { onExit: (rank, children) => rank === 0 && children[1]!.kill() });
    assert.equal(first!.code, 75);
    assert.match(first!.stderr, /error: rank 0: rank 1 failed: the sky is falling\. This process ends\. /);
  });

  it('is named when a collective takes too long', async () => {
    const [first] = await run('behind');
    assert.match(first!.value ?? '', /rank 1 is behind: it has begun 1 collectives/);
  });

  it('is named when it never came', async () => {
    const results = await run('absent', { env: { WORLD_SIZE: '3' } });
    for (const { value } of results) {
      assert.match(value ?? '', /rank 2 has not come within 1 s, of 3 processes; this is rank \d/);
    }
  });
});
