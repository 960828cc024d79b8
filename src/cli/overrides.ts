import type { Config } from '../config/index.js';
import { UsageError } from './errors.js';

/**
 * Merges the file if there is one, then the command line's `KEY VALUE …`, into a fresh configuration. Anything wrong
 * with the overrides is a UsageError.
 */
export async function loadConfig(
  configFile: string | undefined,
  overrides: readonly string[],
): Promise<Config> {
  const { getCfg } = await import('../config/index.js');
  const cfg = getCfg();
  if (configFile !== undefined) cfg.mergeFromFile(configFile);
  const option = overrides.find((word, i) => i % 2 === 0 && word.startsWith('--'));
  if (option) throw new UsageError(`${option}: options come before the KEY VALUE pairs`);
  try {
    cfg.mergeFromList(overrides, 'the command line');
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  return cfg;
}

/** The file may also come first among the words. Pairs are even in number, and keys are in capitals. */
export function splitWords(
  words: readonly string[],
  configFile: string | undefined,
): [file: string | undefined, pairs: string[]] {
  const [first = '', ...rest] = words;
  const isKey = /^[A-Z0-9_]+(\.[A-Z0-9_]+)*$/.test(first);
  const isFile = /\.ya?ml$/i.test(first) || (words.length % 2 === 1 && !isKey);
  if (!isFile) return [configFile, [...words]];
  if (configFile === undefined) return [first, rest];
  throw new UsageError(`two configuration files: ${configFile} and ${first}; give one`);
}
