import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import * as torch from '../torch/index.js';
import type { EventStorage } from './events.js';

type Captured = torch.nn.Captured;

/** Files captured values in the storage of a run: single numbers as scalars, all others as histograms. */
export function putCaptured(storage: EventStorage, values: readonly Captured[]): void {
  for (const seen of values) {
    const name = `capture/${torch.nn.captureName(seen)}`;
    const { value, reduction } = seen;
    if (reduction === 'histogram') storage.putHistogram(name, torch.readHistogram(value));
    else if (value.shape.length === 0) storage.putScalar(name, Number(value.item()), { smoothing: false });
    else storage.putHistogram(name, value);
  }
}

/**
 * Writes captured values to a safetensors file, under their `captureName`s; histograms as `packHistogram` makes them.
 * The folder is made where there is none.
 */
export function saveCaptured(
  path: string,
  values: readonly Captured[],
  metadata: Record<string, string> = {},
): void {
  mkdirSync(dirname(path), { recursive: true });
  const tensors = new Map(values.map((seen) => [torch.nn.captureName(seen), seen.value]));
  torch.saveSafetensors(tensors, path, metadata);
}

/** Says of which layers nothing was seen: containers that are never called, or tensors without a gradient. */
export function noteUnseen(layers: readonly string[], values: readonly Captured[]): string | undefined {
  const seen = new Set(values.map(({ layer }) => layer));
  const unseen = layers.filter((layer) => !seen.has(layer));
  if (unseen.length === 0) return undefined;
  return `nothing was seen of ${unseen.join(', ')}: the model does not call it, or it has nothing of this kind`;
}

export function disposeCaptured(values: readonly Captured[]): void {
  for (const { value } of values) value.dispose();
}
