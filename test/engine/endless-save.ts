// Saves checkpoints one after another until killed; prints a line after the first.
import { Checkpointer } from '../../src/engine/checkpoint.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';

setQuiet(true);
let saves = 0;
const model = {
  stateDict: () => new Map([['big', torch.full([4_000_000], saves)]]),
  loadStateDict: () => ({ loaded: [], missing: [], unexpected: [], mismatched: [] }),
};
const checkpointer = new Checkpointer(model, process.argv[2]);
for (; ; saves++) {
  await checkpointer.save(`model_${saves % 3}`);
  if (saves === 0) process.stdout.write('saved\n');
}
