// A training in a process of its own, to be interrupted and killed by tests:
//   node tiny-train.js OUTPUT_DIR [--resume] [KEY VALUE …]
// Prints `step N` after every step. STEP_MS slows steps down; after step FAIL_AT a hook fails.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DefaultTrainer,
  defaultSetup,
  hooks,
  signalExitCode,
  stopOnSignals,
} from '../../src/engine/index.js';
import { tinyConfig } from './tiny.js';

const [outputDir, ...rest] = process.argv.slice(2);
const resume = rest[0] === '--resume';
const cfg = tinyConfig(outputDir, resume ? rest.slice(1) : rest);
defaultSetup(cfg, { seed: 5 });
const trainer = new DefaultTrainer(cfg);
trainer.registerHooks([
  new hooks.CallbackHook({
    name: 'announce',
    afterStep: async ({ iter }) => {
      console.log(`step ${iter}`);
      if (String(iter) === process.env.FAIL_AT) throw new Error('a hook fails on purpose');
      await sleep(Number(process.env.STEP_MS ?? 0));
    },
  }),
]);
const restore = stopOnSignals(trainer);
await trainer.resumeOrLoad({ resume });
await trainer.train();
restore();
await trainer.close();
if (trainer.outcome === 'stopped') process.exitCode = signalExitCode(trainer.stopReason ?? '');
