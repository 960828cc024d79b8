import { statSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { UsageError } from './errors.js';
import { importExtensions, importOption } from './extensions.js';
import { loadConfig } from './overrides.js';

interface EmbedFlags {
  configFile: string;
  weights?: string;
  out: string;
  batchSize?: number;
  deploy?: boolean;
  import?: string[];
}

function positive(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError('expected a whole number, 1 or more.');
  return n;
}

/** Repeatable option: `--set KEY VALUE` cannot be told from image names, so it is `--set KEY=VALUE`. */
function collect(pair: string, pairs: string[] = []): string[] {
  const at = pair.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('expected KEY=VALUE.');
  return [...pairs, pair.slice(0, at), pair.slice(at + 1)];
}

const EXAMPLES = `
  reid-native embed query/*.jpg --config-file logs/demo/config.yaml --weights logs/demo/model_final.pth \\
      --out features.safetensors

The file holds 'features', float32 [images, dim], in the order of the images, and their paths in its metadata
under 'paths', a JSON array. For cosine similarity, divide each row by its length.`;

export function embedCommand(): Command {
  return new Command('embed')
    .description('Computes the features of images and writes them to a safetensors file.')
    .argument('<images...>', 'image files')
    .requiredOption('--config-file <file>', 'configuration of the model, in YAML')
    .requiredOption('--out <file>', 'file to write, .safetensors')
    .option('--weights <file>', 'weights, .pth or .safetensors (default: MODEL.WEIGHTS)')
    .option('--batch-size <n>', 'images at a time (default: TEST.IMS_PER_BATCH)', positive)
    .option('--deploy', 'merge what can be merged (RepVGG): faster, equal but for rounding')
    .option('--set <key=value>', 'override a key of the configuration; may be repeated', collect)
    .addOption(importOption())
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(images: string[], flags: EmbedFlags & { set?: string[] }): Promise<void> {
  if (!flags.out.endsWith('.safetensors'))
    throw new UsageError(`--out ${flags.out}: the name must end in .safetensors`);
  const cfg = await loadConfig(flags.configFile, flags.set ?? []);
  if (flags.weights !== undefined) cfg.MODEL.WEIGHTS = flags.weights;
  if (!cfg.MODEL.WEIGHTS)
    throw new UsageError('embed needs weights: give --weights FILE, or MODEL.WEIGHTS in the file');
  for (const image of images) checkIsFile(image);
  await importExtensions(flags.import);
  const { DefaultPredictor } = await import('../engine/index.js');
  const { assertSupported } = await import('../config/index.js');
  const { resolveDevice } = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  assertSupported(resolveDevice(cfg));
  const predictor = await DefaultPredictor.create(cfg, { deploy: flags.deploy });
  const features = await predictor.embed(images, { batchSize: flags.batchSize, onProgress: reporter() });
  torch.saveSafetensors(new Map([['features', features]]), flags.out, { paths: JSON.stringify(images) });
  const [n, dim] = features.shape;
  process.stdout.write(`${n} features of ${dim} numbers written to ${flags.out}\n`);
}

function checkIsFile(path: string): void {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Error(`${path} does not exist`);
  if (!stat.isFile())
    throw new Error(`${path} is not a file; for a folder, give ${path.replace(/\/$/, '')}/*`);
}

/** Says how far it is: on a terminal in place, elsewhere not at all. */
function reporter(): ((done: number, total: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined;
  return (done, total) => process.stderr.write(`\r${done}/${total} images${done === total ? '\n' : ''}`);
}
