import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../support/scripts.js';
import { type RankResult, type RunOptions, runRanks } from './ranks.js';

/** A library whose thread throws, as NCCL's watchdog does. */
const THROWS = `
#include <chrono>
#include <stdexcept>
#include <thread>
static const int begun = [] {
  std::thread([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    throw std::runtime_error("watchdog:\\n\\"it\\" took too long\\nException raised from here (most recent call first):");
  }).detach();
  return 0;
}();
`;

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

  it('is quoted when an exception of a native thread ends it', {
    skip: process.platform === 'linux' ? false : 'the library is linked as for Linux',
  }, async (t) => {
    const folder = temporaryFolder(t);
    const [source, library, errorFile] = ['end.cc', 'end.so', 'error.json'].map((name) => join(folder, name));
    writeFileSync(source!, THROWS);
    const compiled = spawnSync(
      'c++',
      ['-shared', '-fPIC', '-pthread', '-Wl,-z,nodelete', '-o', library!, source!],
      {
        encoding: 'utf8',
      },
    );
    assert.equal(compiled.status, 0, `${compiled.stderr ?? compiled.error}`);
    const [first, second] = await run('throws', {
      args: ['throws', library!],
      place: (rank) => ({ RANK: String(rank), ...(rank === 1 && { REID_NATIVE_ERROR_FILE: errorFile! }) }),
    });
    const message = 'a native thread ended the process: watchdog: "it" took too long';
    assert.ok(first!.value?.includes(`rank 1 failed: ${message}`), first!.value);
    assert.equal(second!.signal, 'SIGABRT');
    assert.match(second!.stderr, /terminate called after throwing/);
    const { time, ...failure } = JSON.parse(readFileSync(errorFile!, 'utf8'));
    assert.deepEqual(failure, { rank: 1, message, secondary: true });
  });

  it('is named when it has another backend', async () => {
    for (const { value } of await run('differs')) {
      assert.match(
        value ?? '',
        /rank 1 has the backend 'nccl', but rank 0 'gloo': all processes need the same/,
      );
    }
  });

  it('is named when it never came', async () => {
    const results = await run('absent', { env: { WORLD_SIZE: '3' } });
    for (const { value } of results) {
      assert.match(value ?? '', /rank 2 has not come within 1 s, of 3 processes; this is rank \d/);
    }
  });
});
