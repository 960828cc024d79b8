import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { CAPTURE_WORDS, REDUCTION_WORDS, readWords, SINK_WORDS } from '../engine/capture-words.js';
import { alignColumns } from '../engine/format.js';
import { logger } from '../logger.js';
import type { nn, Tensor } from '../torch/index.js';
import { importExtensions, importOption } from './extensions.js';
import { positive } from './numbers.js';
import { loadConfig } from './overrides.js';

interface CaptureFlags {
  configFile: string;
  weights?: string;
  layers: string[];
  what: nn.CaptureKind[];
  reduce: nn.Reduction[];
  images: string;
  out: string;
  to: string[];
  batchSize?: number;
  import?: string[];
}

/** Reads words parted by commas, each one of a table. */
function listFrom<T>(table: Readonly<Record<string, T>>): (text: string) => T[] {
  return (text) => {
    try {
      return readWords(table, text.split(','));
    } catch (error) {
      throw new InvalidArgumentError(`${(error as Error).message}.`);
    }
  };
}

const EXAMPLES = `
  reid-native capture --config-file logs/demo/config.yaml --weights logs/demo/model_final.pth \\
      --layers 'backbone.layer4' --what output,grad --images query --out captures

Layers are named as in 'reid-native model', with * for any part of a name and ** for several. Gradients are those of
the sum of the images' feature lengths (L2 norms): where they are large, a layer decides how strong the feature is.
One safetensors file is written for each batch, under names such as 'backbone.layer4/output/full', and the images'
paths in its metadata; with --to tensorboard, scalars and histograms by batch.`;

export function captureCommand(): Command {
  return new Command('capture')
    .description('Runs a trained model over images and writes what chosen layers see and give.')
    .usage('--config-file FILE --layers NAMES --images DIR --out DIR [options] [KEY VALUE …]')
    .passThroughOptions()
    .requiredOption('--config-file <file>', 'configuration of the model, in YAML')
    .requiredOption('--layers <names>', 'layers by name or pattern, parted by commas', (text) =>
      text.split(','),
    )
    .requiredOption('--images <dir>', 'an image, or a folder of images')
    .requiredOption('--out <dir>', 'folder to write to')
    .option('--weights <file>', 'weights, .pth or .safetensors (default: MODEL.WEIGHTS)')
    .option('--what <kinds>', `of ${Object.keys(CAPTURE_WORDS).join(', ')}`, listFrom(CAPTURE_WORDS), [
      'output' as const,
    ])
    .option('--reduce <how>', `of ${Object.keys(REDUCTION_WORDS).join(', ')}`, listFrom(REDUCTION_WORDS), [
      'full' as const,
    ])
    .option('--to <sinks>', 'of safetensors, tensorboard', listFrom(SINK_WORDS), ['safetensors'])
    .option('--batch-size <n>', 'images at a time (default: TEST.IMS_PER_BATCH)', positive)
    .addOption(importOption())
    .argument('[overrides...]', 'KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(overrides: string[], flags: CaptureFlags): Promise<void> {
  const cfg = await loadConfig(flags.configFile, overrides);
  if (flags.weights !== undefined) cfg.MODEL.WEIGHTS = flags.weights;
  const { findImages } = await import('../data/index.js');
  const images = findImages([flags.images]);
  await importExtensions(flags.import);
  const { assertSupported } = await import('../config/index.js');
  const engine = await import('../engine/index.js');
  const torch = await import('../torch/index.js');
  assertSupported(engine.resolveDevice(cfg));
  const predictor = await engine.DefaultPredictor.create(cfg);
  const { layers, what, reduce } = flags;
  using capture = new torch.nn.Capture(predictor.model, { layers, what, reduce });
  mkdirSync(flags.out, { recursive: true });
  const storage = new engine.EventStorage();
  const writer = flags.to.includes('tensorboard') ? new engine.TensorBoardWriter(flags.out) : undefined;
  const withGradient = what.some((kind) => kind.startsWith('grad'));
  const rows: string[][] = [];
  try {
    for await (const { batch, sources } of engine.imageBatches(predictor, images, flags)) {
      capture.attach();
      torch.scope(() => {
        if (!withGradient) {
          predictor.model.embed(batch);
          return;
        }
        predictor.model.zeroGrad();
        const features = predictor.model.call({ images: batch }) as Tensor;
        features.linalg_vector_norm(2, [1]).sum().backward();
      });
      capture.detach();
      const values = capture.take();
      const note = storage.iter === 0 ? engine.noteUnseen(capture.layers, values) : undefined;
      if (note !== undefined) {
        if (values.length === 0) throw new Error(note);
        logger.warn(note);
      }
      if (storage.iter === 0)
        rows.push(...values.map((seen) => [torch.nn.captureName(seen), shown(seen.value)]));
      if (flags.to.includes('safetensors')) {
        const file = join(flags.out, `batch_${String(storage.iter).padStart(4, '0')}.safetensors`);
        engine.saveCaptured(file, values, { paths: JSON.stringify(sources) });
      }
      if (writer) {
        engine.putCaptured(storage, values);
        await engine.withEventStorage(storage, () => writer.write());
        storage.written();
      }
      engine.disposeCaptured(values);
      storage.iter++;
    }
  } finally {
    writer?.close();
  }
  process.stdout.write(`${alignColumns(rows)}\n${images.length} images; written to ${flags.out}\n`);
}

/** A single number, or a shape. */
function shown(value: Tensor): string {
  return value.shape.length === 0 ? Number(value.item()).toPrecision(5) : `[${value.shape.join(', ')}]`;
}
