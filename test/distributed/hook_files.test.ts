import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { temporaryFolder } from '../support/scripts.js';
import { runRanks } from './ranks.js';

const folder = temporaryFolder({ after });

test('what hooks write carries the number of the rank', async () => {
  const ranks = await runRanks<string>('distributed/hook_files_rank.js', 2, { args: [folder] });
  for (const [rank, { code, stderr, value }] of ranks.entries()) {
    assert.equal(code, 0, stderr);
    assert.match(value ?? '', new RegExp(`nonfinite_iter_0000001\\.rank${rank}\\.safetensors`));
  }
  assert.deepEqual(readdirSync(folder).sort(), [
    'iter_0000000.rank0.safetensors',
    'iter_0000000.rank1.safetensors',
    'nonfinite_iter_0000001.rank0.safetensors',
    'nonfinite_iter_0000001.rank1.safetensors',
    'profiler-trace-iter0.rank0.json',
    'profiler-trace-iter0.rank1.json',
  ]);
});
