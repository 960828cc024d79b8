import { Command, InvalidArgumentError } from 'commander';
import type { Config } from '../config/index.js';
import type { ModelSummary } from '../modeling/index.js';
import { importExtensions, importOption } from './extensions.js';
import { wholeNumber } from './numbers.js';
import { loadConfig, splitWords } from './overrides.js';

interface ModelFlags {
  configFile?: string;
  depth?: number;
  size?: [number, number];
  json: boolean;
  import?: string[];
}

function imageSize(text: string): [number, number] {
  const [height, width, ...more] = text.split('x').map(Number);
  const good = (n: number | undefined): n is number => n !== undefined && Number.isInteger(n) && n > 0;
  if (!good(height) || !good(width) || more.length > 0) {
    throw new InvalidArgumentError('expected height and width in pixels, as in --size 256 128.');
  }
  return [height, width];
}

/** Lets `--size 256 128` be two words, as the configuration's sizes are two numbers. */
class ModelCommand extends Command {
  override parseOptions(argv: string[]): ReturnType<Command['parseOptions']> {
    const at = argv.indexOf('--size');
    const isNumber = (word: string | undefined): boolean => word !== undefined && /^\d+$/.test(word);
    if (at < 0 || !isNumber(argv[at + 1]) || !isNumber(argv[at + 2])) return super.parseOptions(argv);
    return super.parseOptions(argv.toSpliced(at + 1, 2, `${argv[at + 1]}x${argv[at + 2]}`));
  }
}

const EXAMPLES = `
  reid-native model configs/demo/emoji_r18.yml
  reid-native model F.yml --depth 2
  reid-native model F.yml --size 384 128 MODEL.BACKBONE.DEPTH 101x
  reid-native model MODEL.BACKBONE.NAME build_resnet_backbone MODEL.BACKBONE.DEPTH 50x --json

Parameters and MACs of a module include those of the modules in it. A MAC is one multiplication with one addition, in
convolutions, matrix products and attention. Neither data sets nor weights are read.`;

export function modelCommand(): Command {
  return new ModelCommand('model')
    .description('Prints the modules of a model with their output shapes, parameters and MACs.')
    .usage('[FILE] [options] [KEY VALUE …]')
    .option('--config-file <file>', 'configuration, in YAML; the same as FILE; without either, the defaults')
    .option('--depth <n>', 'modules down to this depth: 0 is the model, 1 backbone and head', wholeNumber)
    .option(
      '--size <height width>',
      'size of the image (default: as in evaluation, INPUT.SIZE_TEST or CROP.SIZE)',
      imageSize,
    )
    .option('--json', 'print JSON', false)
    .addOption(importOption())
    .argument('[words...]', 'a configuration file, KEY VALUE pairs')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(words: string[], flags: ModelFlags): Promise<void> {
  const [file, pairs] = splitWords(words, flags.configFile);
  const cfg = await loadConfig(file, pairs);
  if (flags.size !== undefined) {
    cfg.INPUT.SIZE_TEST = flags.size;
    // Position embeddings are made for the size of training.
    cfg.INPUT.SIZE_TRAIN = flags.size;
    cfg.INPUT.CROP.ENABLED = false;
  }
  await importExtensions(flags.import);
  await refuseUnsupported(cfg);
  const { summarizeModel } = await import('../modeling/index.js');
  const summary = summarizeModel(cfg, (line) => process.stderr.write(`${line}\n`));
  const modules = summary.modules.filter(({ depth }) => depth <= (flags.depth ?? Number.POSITIVE_INFINITY));
  const shown = { ...summary, modules };
  process.stdout.write(flags.json ? `${JSON.stringify(shown, null, 2)}\n` : formatSummary(shown));
}

/** Settings of data, solver and evaluation do not matter here. */
async function refuseUnsupported(cfg: Config): Promise<void> {
  const { ConfigError, unsupported } = await import('../config/index.js');
  const [refusal] = unsupported(cfg).filter(({ key }) => /^(MODEL|KD|COMPAT)\b/.test(key));
  if (refusal) throw new ConfigError(refusal.message, refusal.key);
}

const thousands = (n: number): string => n.toLocaleString('en-US');

function macsText(macs: number): string {
  if (macs === 0) return '–';
  if (macs >= 1e9) return `${(macs / 1e9).toFixed(3)} G`;
  return macs >= 1e5 ? `${(macs / 1e6).toFixed(1)} M` : `${(macs / 1e3).toFixed(1)} k`;
}

/** The table and the totals as text. */
export function formatSummary(summary: ModelSummary): string {
  const head = ['module', 'type', 'output', 'parameters', 'MACs'];
  const rows = summary.modules.map(({ path, type, outputs, parameters, macs }) => [
    path || '(model)',
    type,
    outputs.length > 0 ? outputs.map((shape) => `[${shape.join(', ')}]`).join(' ') : '–',
    parameters === 0 ? '–' : thousands(parameters),
    macsText(macs),
  ]);
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)));
  const line = (cells: string[]): string =>
    cells
      .map((cell, i) => (i < 3 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd();
  const rule = widths.map((width) => '─'.repeat(width)).join('  ');
  return `${[line(head), rule, ...rows.map(line), rule, ...totals(summary)].join('\n')}\n`;
}

function totals(summary: ModelSummary): string[] {
  const { size, parameters, trainable, macs, featureWidth, activationBytes } = summary;
  const lines = [
    `parameters   ${thousands(parameters)}, ${parameters === trainable ? 'all' : `of which ${thousands(trainable)}`} trainable`,
    `MACs         ${(macs / 1e9).toFixed(3)} G for one image of ${size[0]}×${size[1]} (height × width) in evaluation`,
    `features     ${featureWidth} numbers an image`,
    `activations  ${(activationBytes / 2 ** 20).toFixed(1)} MiB an image in float32: all that is computed, most of it kept by training`,
  ];
  if (summary.classesFromData) {
    lines.push(
      `note: MODEL.HEADS.NUM_CLASSES is 0, to be taken from the training set; counted here with ${summary.classes} classes`,
    );
  }
  return lines;
}
