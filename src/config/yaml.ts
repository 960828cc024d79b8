import { readFileSync } from 'node:fs';
import {
  defineMappingTag,
  defineScalarTag,
  defineSequenceTag,
  load,
  mergeTag,
  NOT_RESOLVED,
  Schema,
  strTag,
} from 'js-yaml';
import { ConfigError } from './errors.js';
import { parseLiteral } from './literal.js';
import type { PyValue } from './pyvalue.js';
import { floatText, NONE, repr, strRepr } from './pyvalue.js';

/**
 * YAML as PyYAML's `safe_load` reads it, because that is what FastReID's files were written for: `yes`, `no`, `on`
 * and `off` are booleans, `3e-4` (no point) is a string, `1` and `1.` are an int and a float. Strings come as
 * strings; every other scalar as a PyValue. (Dates and base-60 numbers stay strings: no key takes one.)
 */
type YamlNode = string | PyValue | YamlSequence | YamlMapping;

class YamlSequence {
  readonly items: YamlNode[] = [];
}

/** A mapping as written, in the order of the file. */
export class YamlMapping {
  readonly entries = new Map<string, YamlNode>();
}

const NULLS = /^(?:~|null|Null|NULL|)$/;
const BOOLEANS = /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/;
const TRUTHS = /^(?:yes|true|on)$/i;
const INTEGERS = /^[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$/;
const FLOATS =
  /^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/;

function parseInteger(text: string): number {
  const digits = text.replaceAll('_', '').replace(/^[-+]/, '');
  const sign = text.startsWith('-') ? -1 : 1;
  if (/^0b/.test(digits)) return sign * Number.parseInt(digits.slice(2), 2);
  if (/^0x/.test(digits)) return sign * Number.parseInt(digits.slice(2), 16);
  // YAML 1.1: a leading zero means octal.
  const value = /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  return value === 0 ? 0 : sign * value;
}

function parseFloatText(text: string): number {
  const plain = text.replaceAll('_', '').toLowerCase();
  if (plain.endsWith('.inf')) return plain.startsWith('-') ? -Infinity : Infinity;
  return plain === '.nan' ? Number.NaN : Number(plain);
}

/** The value of a plain scalar, or undefined when it is a string. */
function resolvePlain(text: string): PyValue | undefined {
  if (NULLS.test(text)) return NONE;
  if (BOOLEANS.test(text)) return { kind: 'bool', value: TRUTHS.test(text) };
  if (INTEGERS.test(text)) {
    const value = parseInteger(text);
    return Number.isSafeInteger(value) ? { kind: 'int', value } : undefined;
  }
  return FLOATS.test(text) ? { kind: 'float', value: parseFloatText(text) } : undefined;
}

function scalarTag(name: string, kind: PyValue['kind']) {
  return defineScalarTag<PyValue>(`tag:yaml.org,2002:${name}`, {
    implicit: true,
    resolve: (text) => {
      const value = resolvePlain(text);
      return value?.kind === kind ? value : NOT_RESOLVED;
    },
    identify: () => false,
  });
}

const SCHEMA = new Schema([
  strTag,
  scalarTag('null', 'none'),
  scalarTag('bool', 'bool'),
  scalarTag('int', 'int'),
  scalarTag('float', 'float'),
  mergeTag,
  defineSequenceTag<YamlSequence>('tag:yaml.org,2002:seq', {
    create: () => new YamlSequence(),
    addItem: (carrier, item) => {
      carrier.items.push(item as YamlNode);
    },
    identify: () => false,
  }),
  defineMappingTag<YamlMapping>('tag:yaml.org,2002:map', {
    create: () => new YamlMapping(),
    addPair: (carrier, key, value) => {
      carrier.entries.set(keyText(key), value as YamlNode);
      return '';
    },
    has: (carrier, key) => carrier.entries.has(keyText(key)),
    keys: (result) => result.entries.keys(),
    get: (result, key) => result.entries.get(keyText(key)),
    identify: () => false,
  }),
]);

function keyText(key: unknown): string {
  return typeof key === 'string' ? key : repr(toPyValue(key as YamlNode));
}

/** Value of a YAML node; strings are not read as literals here. */
export function toPyValue(node: YamlNode): PyValue {
  if (typeof node === 'string') return { kind: 'str', value: node };
  if (node instanceof YamlSequence) return { kind: 'list', items: node.items.map(toPyValue) };
  if (!(node instanceof YamlMapping)) return node;
  return {
    kind: 'dict',
    entries: [...node.entries].map(([key, item]) => [{ kind: 'str', value: key }, toPyValue(item)] as const),
  };
}

/**
 * Parses a YAML document that holds a mapping; an empty document is an empty mapping.
 * @throws ConfigError that names the file and, for syntax errors, the line
 */
export function parseYaml(text: string, file: string): YamlMapping {
  let node: unknown;
  try {
    // An empty document has no node to resolve.
    node = /^\s*(#.*\s*)*$/.test(text) ? NONE : load(text, { schema: SCHEMA, filename: file });
  } catch (error) {
    throw new ConfigError(
      `cannot read the configuration file ${file}: ${(error as Error).message}`,
      '',
      file,
    );
  }
  if (node instanceof YamlMapping) return node;
  if (node === NONE || node === undefined) return new YamlMapping();
  throw new ConfigError(`the configuration file ${file} must hold keys and values, as in "MODEL:"`, '', file);
}

/** @throws ConfigError when the file cannot be read or parsed */
export function readYaml(file: string): YamlMapping {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const reason = code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new ConfigError(`cannot read the configuration file ${file}: ${reason}`, '', file);
  }
  return parseYaml(text, file);
}

/** What {@link emitYaml} writes: sections and values. */
export type EmitTree = Map<string, PyValue | EmitTree>;

/** YAML text that both PyYAML under FastReID's literal rules and {@link parseYaml} read back as the same values. */
export function emitYaml(tree: EmitTree, indent = ''): string {
  let out = '';
  for (const [key, item] of tree) {
    if (!(item instanceof Map)) out += `${indent}${key}: ${valueText(item)}\n`;
    else if (item.size === 0) out += `${indent}${key}: {}\n`;
    else out += `${indent}${key}:\n${emitYaml(item, `${indent}  `)}`;
  }
  return out;
}

function valueText(value: PyValue): string {
  switch (value.kind) {
    case 'str':
      return scalarText(looksLiteral(value.value) ? strRepr(value.value) : value.value);
    case 'tuple':
      return hasNaN(value) ? flowText({ kind: 'list', items: value.items }) : scalarText(repr(value));
    case 'list':
      return value.items.some(needsLiteral) && !hasNaN(value) ? scalarText(repr(value)) : flowText(value);
    case 'dict':
      return scalarText(repr(value));
    default:
      return flowText(value);
  }
}

/**
 * A string that reads as a literal ("50") must say that it is a string; so had better one that Python, not we, might
 * take for a literal: sets, bytes, complex numbers, an ellipsis.
 */
function looksLiteral(text: string): boolean {
  return parseLiteral(text) !== undefined || /^\s*(?:[({[]|set\(|\.\.\.)|["']|\d[jJ]\s*$/.test(text);
}

/** YAML's own lists cannot hold tuples; a Python literal can. */
function needsLiteral(value: PyValue): boolean {
  if (value.kind === 'list') return value.items.some(needsLiteral);
  return value.kind === 'tuple' || value.kind === 'dict';
}

/** Python has no literal for NaN; YAML has. */
function hasNaN(value: PyValue): boolean {
  if ('items' in value) return value.items.some(hasNaN);
  return value.kind === 'float' && Number.isNaN(value.value);
}

function flowText(value: PyValue): string {
  switch (value.kind) {
    case 'none':
      return 'null';
    case 'bool':
      return value.value ? 'true' : 'false';
    case 'int':
      return String(value.value);
    case 'float':
      return floatText(value.value);
    case 'str':
      return /^[A-Za-z_][\w./-]*$/.test(value.value) ? plainOrQuoted(value.value) : quoted(value.value);
    case 'list':
    case 'tuple':
      return `[${value.items.map(flowText).join(', ')}]`;
    case 'dict':
      return quoted(repr(value));
  }
}

function scalarText(text: string): string {
  // Parentheses and quotes may stand inside a plain scalar of block style, so tuples read as in FastReID's files.
  const plain = /^[A-Za-z_/(][\w\-./,()"' ]*$/.test(text) && !text.endsWith(' ');
  return plain ? plainOrQuoted(text) : quoted(text);
}

/** Words other YAML readers might take for something else are quoted. */
function plainOrQuoted(text: string): string {
  return resolvePlain(text) || /^(?:y|n|yes|no|on|off|true|false|null)$/i.test(text) ? quoted(text) : text;
}

function quoted(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return `'${text.replaceAll("'", "''")}'`;
  let out = '"';
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    if (char === '"' || char === '\\') out += `\\${char}`;
    else if (code >= 0x20 && code < 0x7f) out += char;
    else if (code <= 0xffff) out += `\\u${code.toString(16).padStart(4, '0')}`;
    else out += `\\U${code.toString(16).padStart(8, '0')}`;
  }
  return `${out}"`;
}
