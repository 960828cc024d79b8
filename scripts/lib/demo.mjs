// What the demo decides and prints, apart from running programs.

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
 * @returns {{quick: boolean, again: boolean, help: boolean, overrides: string[]}}
 */
export function parseDemo(args) {
  const flag = (name) => args.includes(name);
  const unknown = args.find(
    (arg) => arg.startsWith('--') && !['--', '--quick', '--again', '--help'].includes(arg),
  );
  if (unknown) throw new Error(`unknown option ${unknown}; npm run demo -- --help tells which there are`);
  return {
    quick: flag('--quick'),
    again: flag('--again'),
    help: flag('--help'),
    overrides: args.filter((arg) => !arg.startsWith('--')),
  };
}

/**
 * What is to be done, from what an earlier run left in OUTPUT_DIR.
 * @param {(name: string) => boolean} exists asked with a file's name in OUTPUT_DIR
 * @returns {'train' | 'resume' | 'finished'}
 */
export function demoState(exists, again = false) {
  if (again) return 'train';
  if (exists('model_final.pth')) return 'finished';
  return exists('last_checkpoint') ? 'resume' : 'train';
}

/** OUTPUT_DIR out of a configuration printed as YAML. */
export function outputDirectory(yaml) {
  const value = /^OUTPUT_DIR:\s*(.+?)\s*$/m.exec(yaml)?.[1];
  if (value === undefined) throw new Error('the printed configuration has no OUTPUT_DIR');
  return value.replace(/^(['"])(.*)\1$/, '$2');
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
