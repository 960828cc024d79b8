import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Option } from 'commander';

/** `--import FILE`, for whoever registers datasets, backbones or losses of their own. */
export function importOption(): Option {
  return new Option('--import <file>', 'module that registers your own classes; may be repeated').argParser(
    (file: string, files: string[] = []) => [...files, file],
  );
}

/** Runs the modules in order, before the configuration's names are looked up. */
export async function importExtensions(files: readonly string[] = []): Promise<void> {
  for (const file of files) {
    try {
      await import(pathToFileURL(resolve(file)).href);
    } catch (cause) {
      const detail = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`--import ${file}: ${detail}`, { cause });
    }
  }
}
