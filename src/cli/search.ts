import { mkdirSync } from 'node:fs';
import { Command } from 'commander';
import { setLinePrinter } from '../logger.js';
import type { Neighbour } from '../retrieval/index.js';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { positive } from './numbers.js';
import { addPredictorOptions, embedImages, type PredictorFlags, predictorConfig } from './predictor.js';

interface SearchFlags extends PredictorFlags {
  index: string;
  top: number;
  metric?: string;
  out?: string;
}

const EXAMPLES = `
  reid-native search --index gallery.safetensors query.jpg --config-file F.yml --weights W.pth
  reid-native search --index gallery.safetensors query/*.jpg --config-file F.yml --weights W.pth --out found/

Prints for each image the nearest of the index: distance (1 - cosine similarity, or the squared Euclidean distance)
and path, and where known identity and camera. The index is a features file of the same model.`;

export function searchCommand(): Command {
  const command = new Command('search')
    .description('Finds the images of an index that are nearest to others, and draws them.')
    .usage('--index FILE images… --config-file FILE [options]')
    .argument('<images...>', 'image files, folders, or quoted patterns')
    .requiredOption('--index <file>', 'features to search, as embed writes them')
    .option('--top <k>', 'how many to find', positive, 10)
    .option('--metric <name>', 'cosine or euclidean (default: TEST.METRIC)')
    .option('--out <folder>', 'folder to draw them into, a PNG file an image');
  return addPredictorOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(names: string[], flags: SearchFlags): Promise<void> {
  const cfg = await predictorConfig('search', flags);
  const metric = flags.metric ?? cfg.TEST.METRIC;
  if (metric !== 'cosine' && metric !== 'euclidean')
    throw new UsageError(`--metric ${metric}: cosine or euclidean`);
  // What is found goes to stdout, for other programs to read; what happens meanwhile does not.
  setLinePrinter((line) => process.stderr.write(`${line}\n`));
  await importExtensions(flags.import);
  const { findImages } = await import('../data/index.js');
  const { GalleryIndex, drawTiles, numberedName } = await import('../retrieval/index.js');
  const images = findImages(names);
  const index = GalleryIndex.load(flags.index, { metric });
  const { features, paths } = await embedImages(cfg, { paths: images }, flags);
  if (features.shape[1] !== index.dim) {
    throw new Error(
      `${flags.index} holds features of ${index.dim} numbers, but this model makes ${features.shape[1]}: it was made by another`,
    );
  }
  const found = index.search(features, flags.top);
  const { writeAtomic } = await import('../torch/serialization/atomic-file.js');
  if (flags.out !== undefined) mkdirSync(flags.out, { recursive: true });
  for (const [i, path] of paths.entries()) {
    process.stdout.write(`${path}\n`);
    for (const { distance, path: near, identity, camera } of found[i]) {
      const labels = [identity, camera].map((label) => (label === undefined ? '' : `\t${label}`)).join('');
      process.stdout.write(`  ${distance.toFixed(4)}\t${near}${labels}\n`);
    }
    if (flags.out === undefined) continue;
    const png = await drawTiles(path, [
      { path, lines: ['query'], verdict: 'query' },
      ...found[i].map((near) => ({ path: near.path, lines: captions(near) })),
    ]);
    const file = numberedName(flags.out, i, paths.length, path);
    await writeAtomic(file, [png]);
    process.stdout.write(`  drawn: ${file}\n`);
  }
}

/** What stands below an image that was found. */
function captions({ path, distance, identity, camera }: Neighbour): string[] {
  const labels = [
    identity === undefined ? '' : `id ${identity}`,
    camera === undefined ? '' : `camera ${camera}`,
  ];
  return [distance.toFixed(4), labels.filter(Boolean).join(', '), path.split(/[\\/]/).at(-1)!].filter(
    Boolean,
  );
}
