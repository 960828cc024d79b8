import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as torch from '../../src/torch/index.js';

const program = fileURLToPath(new URL('./parallel_train.js', import.meta.url));

export interface Note {
  losses: number[];
  results: Record<string, number>;
  iter: number;
  outcome: string;
}

/** The same numbers whatever the processes: images one after the other, nothing random, statistics of all. */
export const PLAIN = [
  ...['MODEL.BACKBONE.NAME', 'build_sync_backbone', 'MODEL.HEADS.NORM', 'syncBN'],
  ...['MODEL.LOSSES.NAME', '("CrossEntropyLoss",)', 'DATALOADER.SAMPLER_TRAIN', 'TrainingSampler'],
  ...['INPUT.FLIP.ENABLED', 'False', 'INPUT.PADDING.ENABLED', 'False', 'INPUT.REA.ENABLED', 'False'],
];

/** Trainings by `parallel_train.js` on the tiny set that `root` holds, each with an OUTPUT_DIR `root`/NAME. */
export class Trainings {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Exit status, and what it wrote to the standard error. */
  async run(name: string, ranks: number, overrides: string[], env = {}): Promise<[number, string]> {
    const child = spawn(process.execPath, [program, join(this.root, name), String(ranks), ...overrides], {
      env: { ...process.env, FASTREID_DATASETS: this.root, OMP_NUM_THREADS: '1', ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let errors = '';
    child.stderr.on('data', (data: Buffer) => {
      errors += data.toString();
    });
    const code = await new Promise<number>((resolve) => child.on('close', resolve));
    return [code, errors];
  }

  /** What each rank noted of a training that ended well. */
  async train(name: string, ranks: number, overrides: string[], env = {}): Promise<Note[]> {
    const [code, errors] = await this.run(name, ranks, overrides, env);
    assert.equal(code, 0, errors);
    return Array.from({ length: ranks }, (_, rank) =>
      JSON.parse(readFileSync(join(this.root, name, `note${rank}.json`), 'utf8')),
    );
  }

  /** State dict of the last checkpoint. */
  async weights(name: string): Promise<[string, unknown][]> {
    const content = (await torch.load(join(this.root, name, 'model_final.pth'))) as Map<string, unknown>;
    const model = content.get('model') as Map<string, torch.Tensor>;
    return [...model].map(([key, tensor]) => [key, tensor.tolist()]);
  }
}
