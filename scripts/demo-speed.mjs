// How fast this machine trains: a few steps with the configuration's model and pictures, in a process of their own.
// Arguments: FILE [KEY VALUE ...]. The last line it prints is {"secondsPerIteration": …, "itersPerEpoch": …}.

import { DefaultTrainer, getCfg, HookBase, SimpleTrainer } from '../dist/src/index.js';

/** The first steps are slower: memory is allocated and kernels are chosen. */
const WARM_UP = 4;
const TIMED = 12;

class Stopwatch extends HookBase {
  seconds = [];
  #start = 0;

  beforeStep() {
    this.#start = performance.now();
  }

  afterStep() {
    this.seconds.push((performance.now() - this.#start) / 1000);
  }
}

const [file, ...overrides] = process.argv.slice(2);
const cfg = getCfg()
  .mergeFromFile(file)
  .mergeFromList([...overrides, 'OUTPUT_DIR', '']);
const { model, dataLoader, optimizer, itersPerEpoch } = new DefaultTrainer(cfg, { seed: 0 });
const trainer = new SimpleTrainer(model, dataLoader, optimizer);
const stopwatch = new Stopwatch();
trainer.registerHooks([stopwatch]);
await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: WARM_UP + TIMED });
await dataLoader.close();

const timed = stopwatch.seconds.slice(WARM_UP).sort((a, b) => a - b);
process.stdout.write(`${JSON.stringify({ secondsPerIteration: timed[TIMED >> 1], itersPerEpoch })}\n`);
