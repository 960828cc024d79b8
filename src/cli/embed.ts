import { Command } from 'commander';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { chooseImages, type ImageFlags, imageOptions } from './images.js';
import { addPredictorOptions, embedImages, type PredictorFlags, predictorConfig } from './predictor.js';

interface EmbedFlags extends PredictorFlags, ImageFlags {
  out: string;
}

const EXAMPLES = `
  reid-native embed query/ --config-file logs/demo/config.yaml --weights logs/demo/model_final.pth \\
      --out features.safetensors
  reid-native embed 'shots/**/*.jpg' --config-file F.yml --weights W.pth --out features.npy
  reid-native embed --dataset Market1501 --config-file F.yml --weights W.pth --out market.safetensors

A safetensors file holds 'features', float32 [images, dim], in the order of the images, and in its metadata, each as
JSON, their 'paths' and, where known, 'identities', 'cameras' and 'protocol', which says what is looked up in what.
Beside a .npy file, a .json file of the same name holds these. For cosine similarity, divide each row by its length.`;

export function embedCommand(): Command {
  const command = new Command('embed')
    .description('Computes the features of images and writes them to a safetensors or NumPy file.')
    .usage('[images…] --config-file FILE --out FILE [options]')
    .argument('[images...]', 'image files, folders, or quoted patterns');
  for (const option of imageOptions()) command.addOption(option);
  command.requiredOption('--out <file>', 'file to write, .safetensors or .npy');
  return addPredictorOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(names: string[], flags: EmbedFlags): Promise<void> {
  if (!/\.(safetensors|npy)$/.test(flags.out)) {
    throw new UsageError(`--out ${flags.out}: the name must end in .safetensors or .npy`);
  }
  const cfg = await predictorConfig('embed', flags);
  await importExtensions(flags.import);
  const set = await embedImages(cfg, await chooseImages(cfg, names, flags), flags);
  const { saveFeatures } = await import('../retrieval/index.js');
  saveFeatures(flags.out, set);
  const [n, dim] = set.features.shape;
  process.stdout.write(`${n} features of ${dim} numbers written to ${flags.out}\n`);
}
