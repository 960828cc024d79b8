import { SingleBar } from 'cli-progress';
import { Command } from 'commander';
import { positive } from './numbers.js';

interface EmojiOptions {
  root?: string;
  limit?: number;
  force?: boolean;
}

/** Shows progress: a bar on a terminal, a line every fifth of the way elsewhere. */
function progressReporter(verb: string): { update: (done: number, total: number) => void; stop: () => void } {
  if (process.stdout.isTTY) {
    const bar = new SingleBar({ format: `${verb} [{bar}] {value}/{total} pictures, {eta_formatted} left` });
    let started = false;
    return {
      update: (done, total) => {
        if (!started) bar.start(total, 0);
        started = true;
        bar.update(done);
      },
      stop: () => bar.stop(),
    };
  }
  let printed = 0;
  return {
    update: (done, total) => {
      const fifths = Math.floor((5 * done) / total);
      if (fifths > printed) console.log(`${verb}: ${done}/${total} pictures`);
      printed = Math.max(printed, fifths);
    },
    stop: () => {},
  };
}

async function prepareEmojiSet(options: EmojiOptions): Promise<void> {
  const { prepareEmoji } = await import('../data/emoji.js');
  const { datasetsRoot } = await import('../data/datasets/base.js');
  const progress = progressReporter('Rendering');
  const begin = performance.now();
  try {
    const { folder, counts, skipped } = await prepareEmoji({
      root: options.root ?? datasetsRoot(),
      limit: options.limit,
      force: options.force,
      onProgress: progress.update,
    });
    progress.stop();
    const seconds = ((performance.now() - begin) / 1000).toFixed(1);
    console.log(skipped ? `Already complete: ${folder}` : `Rendered ${folder} in ${seconds} s`);
    for (const [name, { ids, images }] of Object.entries(counts)) {
      console.log(`  ${name.padEnd(8)} ${images} pictures of ${ids} identities`);
    }
  } finally {
    progress.stop();
  }
}

async function prepareCuhk03Set(options: { root?: string }): Promise<void> {
  const { prepareCuhk03 } = await import('../data/cuhk03.js');
  const { datasetsRoot } = await import('../data/datasets/base.js');
  const progress = progressReporter('Writing');
  try {
    const root = options.root ?? datasetsRoot();
    const { folders, testSets } = await prepareCuhk03({ root, onProgress: progress.update });
    progress.stop();
    for (const { path, images } of folders) {
      console.log(images > 0 ? `Wrote ${images} pictures to ${path}` : `Already there: ${path}`);
    }
    console.log(testSets.written ? `Wrote ${testSets.path}` : `Already there: ${testSets.path}`);
  } finally {
    progress.stop();
  }
}

const ROOT_OPTION = [
  '--root <folder>',
  'folder that holds the datasets (default: $FASTREID_DATASETS, else datasets)',
] as const;

/** `reid-native prepare`: makes datasets that need making. */
export function prepareCommand(): Command {
  const command = new Command('prepare').description('make a dataset');
  command
    .command('emoji')
    .description(
      'render EmojiReID, the demo set: 1,193 emoji as six vendors draw them, 6,997 pictures, in the shape of Market-1501',
    )
    .option(...ROOT_OPTION)
    .option('--limit <n>', 'only the first n identities to train on and the first n to test on', positive)
    .option('--force', 'render again even when the folder is complete')
    .action(prepareEmojiSet);
  command
    .command('cuhk03')
    .description("write CUHK03's pictures, which its authors give in one MATLAB file, as PNG files")
    .option(...ROOT_OPTION)
    .action(prepareCuhk03Set);
  return command;
}
