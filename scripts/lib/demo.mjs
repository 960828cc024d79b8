// What the demo decides and prints, apart from running programs.

import { load } from 'js-yaml';

/** The demo's configuration file, relative to the repository. */
export const CONFIG = 'configs/demo/emoji_r18.yml';

/** `--quick`: the same path in about a minute, on a small part of the data, for continuous integration. */
export const QUICK = {
  folder: 'build/demo-quick',
  limit: 16,
  overrides: [
    ...['SOLVER.MAX_EPOCH', '2', 'SOLVER.IMS_PER_BATCH', '32', 'SOLVER.CHECKPOINT_PERIOD', '1'],
    ...['SOLVER.WARMUP_ITERS', '0', 'SOLVER.DELAY_EPOCHS', '0', 'TEST.EVAL_PERIOD', '2'],
    ...['OUTPUT_DIR', 'build/demo-quick/logs'],
  ],
};

/**
 * @param {string[]} args the demo's command line
 * @returns {{quick: boolean, again: boolean, help: boolean, epochs: number | null, overrides: string[]}}
 */
export function parseDemo(args) {
  const rest = args.filter((arg) => arg !== '--');
  const take = (name) => {
    const at = rest.indexOf(name);
    if (at >= 0) rest.splice(at, 1);
    return at;
  };
  const epochsAt = take('--epochs');
  const epochs = epochsAt < 0 ? null : Number(rest.splice(epochsAt, 1)[0]);
  if (epochs !== null && !(Number.isInteger(epochs) && epochs > 0)) {
    throw new Error('--epochs needs a whole number, 1 or more');
  }
  const quick = take('--quick') >= 0;
  if (quick && epochs !== null) throw new Error('--quick has its own number of epochs; leave out --epochs');
  const flags = { quick, again: take('--again') >= 0, help: take('--help') >= 0, epochs };
  if (epochs !== null && rest.includes('SOLVER.MAX_EPOCH')) {
    throw new Error('--epochs and SOLVER.MAX_EPOCH say the same thing; leave out one of them');
  }
  const unknown = rest.find((arg) => arg.startsWith('--'));
  if (unknown) throw new Error(`unknown option ${unknown}; npm run demo -- --help tells which there are`);
  return { ...flags, overrides: rest };
}

/**
 * What is to be done, from what an earlier run left in OUTPUT_DIR. An interrupted run goes on with the number of
 * epochs that it began with; asking for another number begins anew.
 * @param {{checkpoint: string | null, epochs: number | null}} earlier the file that last_checkpoint names, and the
 *   epochs in config.yaml; null where there is none
 * @param {{again?: boolean, epochs?: number | null}} [asked]
 * @returns {'train' | 'resume' | 'finished'}
 */
export function demoState(earlier, { again = false, epochs = null } = {}) {
  if (again || earlier.checkpoint === null || earlier.epochs === null) return 'train';
  if (epochs !== null && epochs !== earlier.epochs) return 'train';
  return earlier.checkpoint === 'model_final.pth' ? 'finished' : 'resume';
}

/** Training, with its evaluations, is to take at most so many seconds: 7 minutes with some in reserve. */
const TIME_LIMIT = 390;
/** Fewer epochs than this teach too little to look at. */
const FEWEST_EPOCHS = 5;
/** An evaluation takes as long as about so many iterations. */
const EVALUATION = 30;

/**
 * As many epochs as fit in the time, from FEWEST_EPOCHS to `most`.
 * @param {{secondsPerIteration: number, itersPerEpoch: number}} speed
 * @param {number} most the configuration's epochs
 */
export function affordableEpochs({ secondsPerIteration, itersPerEpoch }, most) {
  const iterations = TIME_LIMIT / secondsPerIteration - 2 * EVALUATION;
  return Math.min(most, Math.max(FEWEST_EPOCHS, Math.floor(iterations / itersPerEpoch)));
}

/** What the console says about the time that `epochs` of `most` take, or would. */
export function timeNote({ secondsPerIteration, itersPerEpoch }, epochs, most) {
  const minutes = (count) =>
    Math.max(1, Math.round(((count * itersPerEpoch + 2 * EVALUATION) * secondsPerIteration) / 60));
  const about = (count) => `about ${minutes(count)} minute${minutes(count) === 1 ? '' : 's'}`;
  const note = `This machine takes ${secondsPerIteration.toPrecision(2)} s an iteration: ${epochs} of ${most} epochs, ${about(epochs)}.`;
  if (epochs >= most) return note;
  return `${note}\nAll of them, ${about(most)}: npm run demo -- --epochs ${most}\n`;
}

/**
 * The KEY VALUE pairs that make a run of another length: warm-up and the periods of evaluation and checkpoints keep
 * their share of it.
 * @param {Settings} settings
 * @param {number} epochs
 * @returns {string[]}
 */
export function lengthOverrides({ maxEpoch, warmupIters, evalPeriod, checkpointPeriod }, epochs) {
  const share = epochs / maxEpoch;
  return Object.entries({
    'SOLVER.MAX_EPOCH': epochs,
    'SOLVER.WARMUP_ITERS': Math.round(warmupIters * share),
    'SOLVER.CHECKPOINT_PERIOD': Math.ceil(checkpointPeriod * share),
    'TEST.EVAL_PERIOD': Math.ceil(evalPeriod * share),
  }).flatMap(([key, value]) => [key, String(value)]);
}

/**
 * What the demo needs of a configuration printed as YAML.
 * @typedef {{output: string, maxEpoch: number, warmupIters: number, evalPeriod: number, checkpointPeriod: number}} Settings
 * @returns {Settings}
 */
export function readSettings(yaml) {
  const { OUTPUT_DIR, SOLVER, TEST } = load(yaml);
  return {
    output: OUTPUT_DIR,
    maxEpoch: SOLVER.MAX_EPOCH,
    warmupIters: SOLVER.WARMUP_ITERS,
    evalPeriod: TEST.EVAL_PERIOD,
    checkpointPeriod: SOLVER.CHECKPOINT_PERIOD,
  };
}

/**
 * The measures of the last evaluation in a metrics.json (one JSON object a line), by data set.
 * @param {string} text
 * @param {string} dataset the name when the file has none, which is so with one test set
 * @returns {Record<string, Record<string, number>> | null} null if nothing was evaluated
 */
export function lastResults(text, dataset) {
  const measure = /^(?:(.+)\/)?(Rank-\d+|mAP|mINP|metric)$/;
  for (const line of text.trimEnd().split('\n').reverse()) {
    let row;
    try {
      row = JSON.parse(line);
    } catch {
      continue; // A killed run may leave half a line.
    }
    const found = {};
    for (const [key, value] of Object.entries(row)) {
      const match = measure.exec(key);
      if (!match || typeof value !== 'number') continue;
      const name = match[1] ?? dataset;
      found[name] = { ...found[name], [match[2]]: value };
    }
    if (Object.values(found).some((measures) => 'mAP' in measures)) {
      return Object.fromEntries(Object.entries(found).map(([name, measures]) => [name, inOrder(measures)]));
    }
  }
  return null;
}

// Rank-1, Rank-5, Rank-10, then the averages: metrics.json has its keys in the alphabet's order.
function inOrder(measures) {
  const place = (name) => (name.startsWith('Rank-') ? Number(name.slice(5)) : Number.MAX_SAFE_INTEGER);
  return Object.fromEntries(Object.entries(measures).sort(([a], [b]) => place(a) - place(b)));
}
