import type { nn } from '../torch/index.js';

// How what is captured is called on command lines and in configurations. Free of libtorch, for the sake of `--help`.

export const CAPTURE_WORDS: Readonly<Record<string, nn.CaptureKind>> = {
  input: 'input',
  output: 'output',
  grad: 'gradOutput',
  'grad-output': 'gradOutput',
  'grad-input': 'gradInput',
  'grad-parameters': 'gradParameters',
};

export const REDUCTION_WORDS: Readonly<Record<string, nn.Reduction>> = {
  full: 'full',
  mean: 'mean',
  std: 'std',
  norm: 'norm',
  histogram: 'histogram',
  'channel-mean': 'channelMean',
};

export const SINK_WORDS: Readonly<Record<string, 'safetensors' | 'tensorboard'>> = {
  safetensors: 'safetensors',
  tensorboard: 'tensorboard',
};

/**
 * What words stand for, each once.
 * @throws for a word that is not in the table, or none at all
 */
export function readWords<T>(table: Readonly<Record<string, T>>, words: readonly string[]): T[] {
  const known = Object.keys(table).join(', ');
  const wrong = words.find((word) => !Object.hasOwn(table, word));
  if (wrong !== undefined) throw new Error(`'${wrong}' is none of: ${known}`);
  if (words.length === 0) throw new Error(`it is empty; there are: ${known}`);
  return [...new Set(words.map((word) => table[word]))];
}
