import { noGrad } from '../autograd.js';
import { scope } from '../memory.js';
import { Tensor } from '../tensor.js';
import { type AnyModule, join } from './module.js';

/** Options of `loadStateDict`. */
export interface LoadOptions {
  /** Whether a missing or unexpected key or a different shape is an error (default true). */
  strict?: boolean;
}

/** A tensor of a checkpoint whose shape is not the model's. */
export interface ShapeMismatch {
  key: string;
  /** Shape in the model. */
  expected: number[];
  /** Shape in the checkpoint. */
  found: number[];
}

/** What loading a state dict did. */
export interface LoadReport {
  loaded: string[];
  /** Keys of the model that the checkpoint lacks. */
  missing: string[];
  /** Keys of the checkpoint that the model lacks. */
  unexpected: string[];
  mismatched: ShapeMismatch[];
}

/** Parameters and persistent buffers under all their names, in PyTorch's order. */
export function* collectState(root: AnyModule): Iterable<[string, Tensor]> {
  for (const [prefix, module] of modulePaths(root, '', new Set())) {
    for (const [name, parameter] of module.ownParameters()) yield [join(prefix, name), parameter];
    for (const [name, buffer] of module.ownBuffers({ persistentOnly: true }))
      yield [join(prefix, name), buffer];
  }
}

/** Every path to every module; a module that contains itself is not entered again. */
function* modulePaths(
  module: AnyModule,
  prefix: string,
  above: Set<AnyModule>,
): Iterable<[string, AnyModule]> {
  if (above.has(module)) return;
  yield [prefix, module];
  above.add(module);
  for (const [name, child] of module.ownModules()) yield* modulePaths(child, join(prefix, name), above);
  above.delete(module);
}

/** Implements `Module.loadStateDict`. */
export function loadState(
  root: AnyModule,
  given: ReadonlyMap<string, Tensor>,
  { strict = true }: LoadOptions = {},
): LoadReport {
  const state = new Map(given);
  for (const [path, module] of [...modulePaths(root, '', new Set())])
    module.beforeLoad(state, join(path, ''));
  const report: LoadReport = { loaded: [], missing: [], unexpected: [], mismatched: [] };
  const own = new Map(collectState(root));
  const optional = optionalKeys(root);
  const copies: [Tensor, Tensor][] = [];
  for (const [key, target] of own) {
    const source: unknown = state.get(key);
    if (source === undefined) {
      if (!optional.has(key)) report.missing.push(key);
      continue;
    }
    if (!(source instanceof Tensor)) {
      throw new TypeError(`loadStateDict: '${key}' is not a Tensor but ${describe(source)}`);
    }
    const expected = target.shape;
    const found = source.shape;
    if (expected.length !== found.length || expected.some((n, i) => n !== found[i])) {
      report.mismatched.push({ key, expected, found });
    } else {
      copies.push([target, source]);
      report.loaded.push(key);
    }
  }
  for (const key of state.keys()) if (!own.has(key)) report.unexpected.push(key);
  if (strict) throwIfDifferent(root, report);
  noGrad(() =>
    scope(() => {
      for (const [target, source] of copies) target.copy_(source);
    }),
  );
  return report;
}

function optionalKeys(root: AnyModule): Set<string> {
  const keys = new Set<string>();
  for (const [prefix, module] of modulePaths(root, '', new Set())) {
    for (const name of module.optionalState()) keys.add(join(prefix, name));
  }
  return keys;
}

function throwIfDifferent(root: AnyModule, { missing, unexpected, mismatched }: LoadReport): void {
  const lines: string[] = [];
  if (missing.length > 0) lines.push(`missing keys: ${missing.join(', ')}`);
  if (unexpected.length > 0) lines.push(`unexpected keys: ${unexpected.join(', ')}`);
  for (const { key, expected, found } of mismatched) {
    lines.push(
      `shape of '${key}': the model has [${expected.join(', ')}], the state dict [${found.join(', ')}]`,
    );
  }
  if (lines.length === 0) return;
  throw new Error(
    `loadStateDict: the state dict does not fit ${root.typeName}:\n  ${lines.join('\n  ')}\n` +
      'Pass { strict: false } to load what fits.',
  );
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'object' ? `a ${value.constructor?.name ?? 'object'}` : `a ${typeof value}`;
}
