// A training by launch(): node parallel_train.js OUTPUT_DIR RANKS [KEY VALUE …]
// KILL_AT=N: rank 1 is killed before iteration N, in the first attempt. STOP_AT=N: rank 1 is asked to stop there.
// OTHER_DIR: OUTPUT_DIR of rank 1. RESUME: go on from the last checkpoint.
// PAUSE_AT=N: rank 1 writes the file MARKER there and waits for two seconds. MACHINES, MACHINE_RANK, DIST_URL,
// LOST_AFTER: of several machines.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DefaultTrainer, defaultSetup, hooks, isRestart, launch } from '../../src/engine/index.js';
import { BACKBONE_REGISTRY, getNorm } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { tinyConfig } from '../engine/tiny.js';

/** No random numbers, and statistics over the batches of all processes. */
class SyncBackbone extends torch.nn.Module {
  readonly conv1 = new torch.nn.Conv2d(3, 8, 3, { stride: 4, padding: 1, bias: false });
  readonly bn1 = getNorm('syncBN', 8) as torch.nn.BatchNorm2d;
  readonly conv2 = new torch.nn.Conv2d(8, 16, 3, { stride: 2, padding: 1 });

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.conv2.call(this.bn1.call(this.conv1.call(x)).relu());
  }
}

BACKBONE_REGISTRY.register('build_sync_backbone', () => new SyncBackbone());

const [outputDir, ranks, ...overrides] = process.argv.slice(2) as [string, string, ...string[]];

async function main(): Promise<void> {
  torch.setNumThreads(1);
  const rank = torch.distributed.getRank();
  const cfg = tinyConfig(rank === 1 ? (process.env.OTHER_DIR ?? outputDir) : outputDir, overrides);
  defaultSetup(cfg, { seed: 5 });
  const trainer = new DefaultTrainer(cfg);
  const losses: number[] = [];
  const at = (name: string): boolean => rank === 1 && trainer.iter === Number(process.env[name] ?? -1);
  trainer.registerHooks([
    new hooks.CallbackHook({
      name: 'note',
      beforeStep: async () => {
        if (at('PAUSE_AT')) {
          writeFileSync(process.env.MARKER as string, '');
          await sleep(2000);
        }
        if (at('KILL_AT') && !isRestart()) process.kill(process.pid, 'SIGKILL');
        if (at('STOP_AT')) trainer.requestStop('SIGTERM');
      },
      afterStep: () => {
        losses.push(trainer.storage.history('total_loss').latest());
      },
    }),
  ]);
  await trainer.resumeOrLoad({ resume: isRestart() || process.env.RESUME !== undefined });
  const results = await trainer.train();
  await trainer.close();
  const note = { losses, results, iter: trainer.iter, outcome: trainer.outcome };
  writeFileSync(join(outputDir, `note${rank}.json`), JSON.stringify(note));
}

const { MACHINES, MACHINE_RANK, DIST_URL, LOST_AFTER } = process.env;
await launch(main, {
  numGpus: Number(ranks),
  logDir: outputDir,
  ...(MACHINES
    ? {
        numMachines: Number(MACHINES),
        machineRank: Number(MACHINE_RANK),
        distUrl: DIST_URL,
        lostAfter: Number(LOST_AFTER),
      }
    : { maxRestarts: 1 }),
});
