// Start-up: the command line's help, and importing the tensor library against Python's `import torch`.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { pythonTorch, repoRoot } from '../test/support/paths.js';
import type { Figure } from './compare.js';

function seconds(command: string, args: string[], env: NodeJS.ProcessEnv = process.env): number {
  const start = process.hrtime.bigint();
  const run = spawnSync(command, args, { env, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr);
  return Number(process.hrtime.bigint() - start) / 1e9;
}

export function start(rounds: number): Figure[] {
  const module = join(repoRoot, 'dist/src/torch/index.js');
  const python = pythonTorch();
  const help: number[] = [];
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds * 3; round++) {
    help.push(seconds(process.execPath, [join(repoRoot, 'bin/reid-native.js'), '--help']));
    ours.push(
      seconds(process.execPath, ['--input-type=module', '-e', `await import(${JSON.stringify(module)})`]),
    );
    if (python) theirs.push(seconds(python.command, ['-c', 'import torch'], python.env));
  }
  const middle = (values: number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
  const ratios = theirs.map((value, i) => ours[i]! / value).sort((a, b) => a - b);
  return [
    { name: 'reid-native --help', unit: 's', ours: middle(help), python: null, ratio: null },
    {
      name: 'importing the tensor library',
      unit: 's',
      ours: middle(ours),
      python: python ? middle(theirs) : null,
      ratio: python ? [ratios[0]!, middle(ratios), ratios.at(-1)!] : null,
    },
  ];
}
