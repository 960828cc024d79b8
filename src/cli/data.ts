import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import type { Config } from '../config/index.js';
import type { Batch, DataLoader } from '../data/index.js';
import type { Label } from '../data/labels.js';
import { importExtensions, importOption } from './extensions.js';
import { positive, wholeNumber } from './numbers.js';
import { loadConfig, splitWords } from './overrides.js';

interface DataFlags {
  configFile?: string;
  out?: string;
  batches: number;
  columns: number;
  seed: number;
  import?: string[];
}

const EXAMPLES = `
  reid-native data configs/demo/emoji_r18.yml
  reid-native data F.yml --batches 3 --out sheet.png INPUT.CJ.ENABLED True

Frames of one colour are one identity. The sheet's pictures are those that training with --seed 0 begins with.`;

export function dataCommand(): Command {
  return new Command('data')
    .description('Prints the statistics of the data sets and draws training batches as the model sees them.')
    .usage('[FILE] [options] [KEY VALUE …]')
    .option('--config-file <file>', 'configuration, in YAML; the same as FILE')
    .option('--out <file>', 'PNG to write (default: batches.png in OUTPUT_DIR)')
    .option('--batches <n>', 'batches to draw; 0 for the statistics alone', wholeNumber, 1)
    .option('--columns <n>', 'pictures in a row', positive, 16)
    .option('--seed <n>', 'seed of the order and of the transforms', wholeNumber, 0)
    .addOption(importOption())
    .argument('[words...]', 'a configuration file, KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(words: string[], flags: DataFlags): Promise<void> {
  const [file, pairs] = splitWords(words, flags.configFile);
  const cfg = await loadConfig(file, pairs);
  await importExtensions(flags.import);
  const { assertSupported } = await import('../config/index.js');
  const { buildReidTrainLoader, openDataset, ownOptions } = await import('../data/index.js');
  cfg.MODEL.DEVICE = 'cpu'; // where pictures are looked at; CUDA need not be there
  assertSupported(cfg);
  const print = (text: string): void => void process.stdout.write(`${text}\n`);
  for (const name of cfg.DATASETS.TESTS) {
    print(openDataset(name, { own: ownOptions(cfg) }).showTest());
  }
  const loader = buildReidTrainLoader(cfg, { seed: flags.seed, log: print });
  try {
    if (flags.batches > 0) await drawBatches(loader, cfg, flags);
  } finally {
    await loader.close();
  }
}

async function drawBatches(loader: DataLoader, cfg: Config, flags: DataFlags): Promise<void> {
  const { contactSheet } = await import('../data/contact-sheet.js');
  const { openDataset, ownOptions } = await import('../data/index.js');
  const { writeAtomicSync } = await import('../torch/serialization/atomic-file.js');
  const batches: Batch[] = [];
  try {
    while (batches.length < flags.batches) batches.push((await loader.next())!);
    // Without the data set's name, which for one's own is a path and leaves no room.
    const sets = cfg.DATASETS.NAMES.map(
      (name) => `${openDataset(name, { own: ownOptions(cfg) }).datasetName}_`,
    );
    const short = (label: Label): string => {
      const name = String(label);
      return name.slice(sets.find((set) => name.startsWith(set))?.length ?? 0);
    };
    const names = new Map(
      loader.dataset.items.map(({ imgPath, pid, camid }) => [
        imgPath,
        [`id ${short(pid)}`, `cam ${short(camid)}`],
      ]),
    );
    const parts = batches.map(({ images, targets, imgPaths }, i) => ({
      title: `batch ${i + 1}: ${imgPaths.length} pictures, ${images.shape.slice(2).join(' × ')} pixels`,
      images,
      labels: imgPaths.map((path) => names.get(path)!),
      groups: (targets.tolist() as (number | bigint)[]).map(Number),
    }));
    const png = await contactSheet(parts, flags.columns);
    const out = flags.out ?? join(cfg.OUTPUT_DIR, 'batches.png');
    mkdirSync(dirname(out), { recursive: true });
    writeAtomicSync(out, [png]);
    process.stdout.write(`${batches.length === 1 ? '1 batch' : `${batches.length} batches`} drawn: ${out}\n`);
  } finally {
    for (const batch of batches) batch.dispose();
  }
}
