import { basename, extname } from 'node:path';
import { Command } from 'commander';
import type { DefaultPredictor, ExplainedPair } from '../engine/index.js';
import type { Tensor } from '../torch/index.js';
import { UsageError } from './errors.js';
import { importExtensions } from './extensions.js';
import { positive } from './numbers.js';
import { addPredictorOptions, type PredictorFlags, predictorConfig } from './predictor.js';

interface ExplainFlags extends PredictorFlags {
  query: string;
  gallery: string[];
  layer: string;
  top: number;
  out: string;
}

const EXAMPLES = `
  reid-native explain --config-file logs/demo/config.yaml --weights logs/demo/model_final.pth \\
      --query query/a.jpg --gallery gallery --top 3 --out explained.png

For the most similar images of the gallery, a row: the query and the match as they are, where the layer is active, and
what of it raises their similarity (the cosine of their features). --layer names a module that gives maps: a deeper one
tells what was decisive, a shallower one, such as backbone.layer3, is finer.`;

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('Shows where two images agree, for a trained model, as a picture.')
    .requiredOption('--query <image>', 'the image to explain')
    .requiredOption('--gallery <images...>', 'images, folders or patterns to compare it with')
    .requiredOption('--out <file>', 'picture to write, .png or .svg')
    .option('--layer <name>', 'layer whose maps are shown', 'backbone')
    .option('--top <n>', 'how many of the most similar images', positive, 1);
  return addPredictorOptions(command).addHelpText('after', EXAMPLES).action(run);
}

async function run(flags: ExplainFlags): Promise<void> {
  const { out, layer } = flags;
  const format = extname(out).toLowerCase();
  if (format !== '.png' && format !== '.svg')
    throw new UsageError(`--out ${out}: the name must end in .png or .svg`);
  const cfg = await predictorConfig('explain', flags);
  const { findImages } = await import('../data/index.js');
  const gallery = findImages(flags.gallery).filter((path) => path !== flags.query);
  if (gallery.length === 0) throw new UsageError('--gallery holds no image besides the query');
  await importExtensions(flags.import);
  const { assertSupported } = await import('../config/index.js');
  const engine = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  const { renderPng } = await import('../charts/index.js');
  assertSupported(engine.resolveDevice(cfg));
  const predictor = await engine.DefaultPredictor.create(cfg, flags);
  const features = await predictor.embed([flags.query, ...gallery], flags);
  const best = torch.scope(() => {
    const unit = features.div(features.linalg_vector_norm(2, [1], true));
    const similarity = unit.narrow(0, 1, gallery.length).mv(unit.select(0, 0));
    return similarity.topk(Math.min(flags.top, gallery.length))[1].tolist() as number[];
  });
  const pairs: ExplainedPair[] = [];
  for (const i of best) {
    const images = await preparedImages(predictor, [flags.query, gallery[Number(i)]]);
    const explanation = engine.explainPair(predictor.model as never, images, layer);
    pairs.push({ images, explanation, name: basename(gallery[Number(i)]) });
    process.stdout.write(`${gallery[Number(i)]}  similarity ${explanation.similarity.toFixed(4)}\n`);
  }
  const svg = await engine.explanationPicture(basename(flags.query), pairs);
  const { writeAtomicSync } = await import('../torch/serialization/atomic-file.js');
  writeAtomicSync(out, [format === '.svg' ? Buffer.from(svg) : await renderPng(svg)]);
  process.stdout.write(`written to ${out}\n`);
}

/** Images as the predictor sees them, uint8 [n, 3, h, w]. */
async function preparedImages(predictor: DefaultPredictor, paths: string[]): Promise<Tensor> {
  const { imageBatches } = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  for await (const { batch } of imageBatches(predictor, paths, { batchSize: paths.length })) {
    return batch.round().to({ dtype: torch.uint8 });
  }
  throw new Error('explain: there are no images');
}
