// Writes src/torch/generated/ from the schemas of the libtorch that the addon was built with:
// ops.ts, the typed functions and methods, and coverage.txt, which schemas can be called and why others cannot.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const native = createRequire(import.meta.url)(join(root, 'build', 'Release', 'reid_native.node'));
const folder = join(root, 'src', 'torch', 'generated');

const reserved = new Set([
  'var',
  'in',
  'new',
  'delete',
  'function',
  'default',
  'import',
  'export',
  'with',
  'eval',
]);

const baseTypes = {
  Tensor: 'Tensor',
  int: 'Int',
  SymInt: 'Int',
  float: 'number',
  bool: 'boolean',
  SymBool: 'boolean',
  SymFloat: 'number',
  Scalar: 'Scalar',
  str: 'string',
  ScalarType: 'DType',
  Device: 'string',
  Layout: 'string',
  MemoryFormat: 'MemoryFormat',
  Generator: 'Generator',
};

function splitTop(text) {
  const parts = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') quoted = !quoted;
    if (quoted) continue;
    if (c === '(' || c === '[') depth++;
    if (c === ')' || c === ']') depth--;
    if (c === ',' && depth === 0) {
      parts.push(text.slice(start, i).trim());
      start = i + 1;
    }
  }
  const last = text.slice(start).trim();
  if (last !== '') parts.push(last);
  return parts;
}

function typeOf(text, output) {
  const plain = text.replace(/\([^)]*\)/g, '');
  const match = /^(\w+)(\?)?(\[(\d*)\])?(\?)?$/.exec(plain);
  if (!match) throw new Error(`cannot read the type ${text}`);
  const [, base, innerOptional, list, fixed, optional] = match;
  let type = baseTypes[base];
  if (type === undefined) throw new Error(`unknown type ${text}`);
  if (output && type === 'Int') type = 'number';
  if (output && type === 'Scalar') type = 'number';
  if (list !== undefined) {
    const element = innerOptional ? `(${type} | null)` : type;
    type = output ? `${element}[]` : `readonly ${element}[]`;
    if (fixed && !output) type = `${type} | ${baseTypes[base]}`;
    if (optional && !output) type = `${type} | null`;
  } else if ((innerOptional || optional) && !output) {
    type = `${type} | null`;
  }
  return type;
}

function parse(schema) {
  const match = /^aten::(\w+)(?:\.(\w+))?\((.*)\) -> (.*)$/.exec(schema);
  if (!match) throw new Error(`cannot read the schema ${schema}`);
  const [, name, overload, argumentText, resultText] = match;
  let keywordOnly = false;
  const args = [];
  for (const part of splitTop(argumentText)) {
    if (part === '*') {
      keywordOnly = true;
      continue;
    }
    const argument = /^(.+?) (\w+)(?:=(.*))?$/.exec(part);
    const [, type, argumentName, fallback] = argument;
    const text = typeOf(type, false);
    args.push({
      name: argumentName,
      type: text,
      keywordOnly,
      optional: fallback !== undefined || / \| null$/.test(text),
      hasDefault: fallback !== undefined,
    });
  }
  const inner = /^\((.*)\)$/.exec(resultText);
  const results = inner ? splitTop(inner[1]) : [resultText];
  const types = results.map((result) => typeOf(result.replace(/ \w+$/, ''), true));
  const returns = types.length === 0 ? 'void' : types.length === 1 ? types[0] : `[${types.join(', ')}]`;
  return { name, overload: overload ?? '', args, returns };
}

const safe = (name) => (reserved.has(name) || name === 'arguments' ? `${name}_` : name);

/** Call signatures of one schema: positional, and required ones followed by an options object. */
function signatures({ args, returns }, skip) {
  const own = args.slice(skip);
  const positional = own.filter((argument) => !argument.keywordOnly);
  const lines = [];
  let lastRequired = -1;
  let lastWithoutDefault = -1;
  positional.forEach((argument, i) => {
    if (!argument.optional) lastRequired = i;
    if (!argument.hasDefault) lastWithoutDefault = i;
  });
  // Where an options object may stand: after all, after those that have no default, after those that must be given.
  const heads = [positional.length, lastWithoutDefault + 1, lastRequired + 1];
  const show = (list, isOptional) =>
    list.map((a, i) => `${safe(a.name)}${isOptional(a, i) ? '?' : ''}: ${a.type}`);
  const optionsOf = (rest) => {
    if (rest.length === 0) return [];
    const required = rest.some((a) => !a.optional);
    return [
      `options${required ? '' : '?'}: { ${rest.map((a) => `${a.name}${a.optional ? '?' : ''}: ${a.type}`).join('; ')} }`,
    ];
  };
  const keyword = own.filter((argument) => argument.keywordOnly);
  if (keyword.every((a) => a.optional)) {
    lines.push(`(${show(positional, (_, i) => i > lastRequired).join(', ')}): ${returns};`);
  }
  for (let count = positional.length; count > lastRequired; count--) {
    const rest = [...positional.slice(count), ...keyword];
    if (rest.length === 0) continue;
    if (!heads.includes(count)) continue;
    const head = show(positional.slice(0, count), () => false);
    lines.push(`(${[...head, ...optionsOf(rest)].join(', ')}): ${returns};`);
  }
  return lines;
}

// The names that are refused, with the reasons, from the TypeScript source: there may be no compiled one yet.
const unsafeSource = readFileSync(join(root, 'src', 'torch', 'unsafe_ops.ts'), 'utf8');
const unsafe = new Function(unsafeSource.replace(/export const unsafeOperators[^=]*=/, 'return'))();

const schemas = native.schemas();
const coverage = [];
const families = new Map();
let callable = 0;
for (const [schema, unreachable] of schemas) {
  const reason = unreachable || unsafe[/^aten::(\w+)/.exec(schema)[1]] || '';
  coverage.push(reason === '' ? `yes  ${schema}` : `no   ${schema}  # ${reason}`);
  if (unreachable !== '') continue; // those refused by name keep their function, which says why
  if (reason === '') callable++;
  const parsed = parse(schema);
  const family = families.get(parsed.name) ?? [];
  family.push(parsed);
  families.set(parsed.name, family);
}

// What tensor.ts writes by hand has no generated twin.
const handWritten = new Set();
const tensorSource = readFileSync(join(root, 'src', 'torch', 'tensor.ts'), 'utf8');
for (const [, name] of tensorSource.matchAll(/^ {2}(?:get |set )?(\w+)\(/gm)) handWritten.add(name);

const functions = [];
const methods = [];
const methodNames = [];
const renamed = [];
for (const [name, overloads] of families) {
  const lines = [...new Set(overloads.flatMap((schema) => signatures(schema, 0)))];
  const type = `{ ${lines.join(' ')} }`;
  if (reserved.has(name)) {
    functions.push(`const ${name}_op = operator<${type}>('${name}');`);
    renamed.push(`${name}_op as ${name}`);
  } else {
    functions.push(`export const ${name} = operator<${type}>('${name}');`);
  }
  const own = overloads.filter(
    (schema) => schema.args[0]?.name === 'self' && schema.args[0].type.startsWith('Tensor'),
  );
  if (own.length > 0 && !handWritten.has(name)) {
    methodNames.push(name);
    for (const line of new Set(own.flatMap((schema) => signatures(schema, 1))))
      methods.push(`  ${name}${line}`);
  }
}

const text = `// Generated by scripts/generate-ops.mjs from libtorch ${native.version()}. Do not edit.
/* eslint-disable */
import { operator } from '../dispatch.js';
import type { DType } from '../dtype.js';
import type { Generator } from '../random.js';
import type { Tensor } from '../tensor.js';

export type Int = number | bigint;
export type Scalar = number | bigint | boolean;
export type MemoryFormat = 'contiguous_format' | 'channels_last' | 'channels_last_3d' | 'preserve_format';

/** Operators whose first argument is \`self\`. */
export interface TensorMethods {
${methods.join('\n')}
}

export const methodNames: readonly string[] = '${methodNames.join(' ')}'.split(' ');

${functions.join('\n')}
export { ${renamed.join(', ')} };
`;

mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, 'ops.ts'), text);
const share = ((100 * callable) / schemas.length).toFixed(2);
writeFileSync(
  join(folder, 'coverage.txt'),
  `libtorch ${native.version()}: ${callable} of ${schemas.length} aten schemas (${share} %) can be called from TypeScript.\n${coverage.join('\n')}\n`,
);
process.stdout.write(`${callable} of ${schemas.length} schemas (${share} %), ${families.size} names\n`);
