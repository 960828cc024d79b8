import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/scripts.js';
import { PLACES, skipAt } from './place.js';
import { runPythonRanks, runRanks } from './ranks.js';

interface Training {
  grads: (number[] | null)[];
  state: number[][];
}
/** What hooks saw, in order, and the gradients in the end. */
interface Hooked {
  seen: [string, number[]][];
  grads: number[][];
}
type Trainings = Record<string, Training>;
interface Report {
  results: Trainings;
  frozen: { frozen: number[] | null; open: number[] };
  alone: [number[], number[]];
  syncBn: number[];
  refused: string[];
}

for (const place of PLACES)
  describe(`DistributedDataParallel, two processes, ${place}`, skipAt(place), () => {
    let reports: Report[];

    before(async () => {
      const ranks = await runRanks<Report>('distributed/data_parallel_rank.js', 2, {
        env: { RANKS_ON: place },
      });
      for (const { code, stderr, value } of ranks) assert.ok(code === 0 && value, stderr);
      reports = ranks.map(({ value }) => value as Report);
    });

    it("trains as Python's does, to the last bit", {
      skip: place !== 'gloo/cpu' ? 'on the CPU only' : pythonTorch() ? false : pythonTorchMissing,
    }, async (t) => {
      const path = join(temporaryFolder(t), 'results.json');
      await runPythonRanks(join(repoRoot, 'test/distributed/data_parallel.py'), 2, { RESULTS: path });
      for (const rank of [0, 1]) {
        const python = JSON.parse(readFileSync(`${path}.${rank}`, 'utf8')) as Trainings;
        for (const [name, expected] of Object.entries(python)) {
          assert.deepEqual(reports[rank]!.results[name], expected, `${name}, rank ${rank}`);
        }
      }
    });

    it('lets hooks of modules and tensors see each process’s own values, as Python’s do', () => {
      const [first, second] = reports.map(({ results }) => results.hooked as unknown as Hooked);
      const step = [
        'fc1 input',
        'fc2 output',
        'fc2 gradInput',
        'fc2 gradOutput',
        'bn gradOutput',
        'fc1 weight',
      ];
      for (const { seen } of [first!, second!]) {
        assert.deepEqual(
          seen.map(([name]) => name),
          [...step, ...step],
        );
      }
      // Own gradients before the mean, the same mean after it. Values are compared with Python's above.
      assert.notDeepEqual(first!.seen[5], second!.seen[5]);
      assert.deepEqual(first!.grads, second!.grads);
    });

    it('leaves all processes with the same parameters', () => {
      for (const name of ['plain', 'unused', 'accumulate']) {
        // Buffers of the last step are each process's own; parameters come before and after bn's three.
        const parameters = reports.map(({ results }) =>
          results[name]!.state.filter((_, i) => i < 4 || i > 6),
        );
        assert.deepEqual(parameters[0], parameters[1], name);
        assert.deepEqual(reports[0]!.results[name]!.grads, reports[1]!.results[name]!.grads, name);
      }
    });

    it('follows parameters that are frozen and opened', () => {
      assert.equal(reports[0]!.frozen.frozen, null);
      assert.ok(reports[0]!.frozen.open.some((value) => value !== 0));
      assert.deepEqual(reports[0]!.frozen.open, reports[1]!.frozen.open);
    });

    it('gives the same where gradients are views of the buckets', () => {
      for (const { results } of reports) assert.deepEqual(results.view, results.plain);
    });

    it('changes nothing in a group of one', () => {
      for (const { alone } of reports) assert.deepEqual(alone[1], alone[0]);
      assert.notDeepEqual(reports[0]!.alone[0], reports[1]!.alone[0]);
    });

    it('refuses models that differ, or are on different devices', () => {
      for (const { refused } of reports) {
        assert.match(
          refused[0]!,
          /rank 0 trains weight \[2, 2\] float32 on (cpu|cuda), where rank 1 has weight \[3, 2\]/,
        );
        assert.match(
          refused[1]!,
          /\[2, 2\] float32 on (cpu|cuda), where rank 1 has weight \[2, 2\] float32 on meta/,
        );
      }
    });

    it('syncBN of parts is batch normalisation of the whole, backward too', () => {
      for (const { syncBn } of reports) for (const error of syncBn) assert.ok(error < 2e-5, `${syncBn}`);
    });
  });
