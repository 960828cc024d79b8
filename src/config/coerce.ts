import { ConfigError, fromWhere } from './errors.js';
import type { PyKind, PyValue } from './pyvalue.js';
import { NONE, repr } from './pyvalue.js';

/**
 * Fits a value to the kind a key was defined with. Tuple and list turn into each other, an int is taken where a
 * float is wanted, None is taken anywhere; a key defined as None takes anything but a dict. All else is an error.
 *
 * @param text the value as written, when it came as a string from a file or the command line
 */
export function coerce(
  value: PyValue,
  wanted: PyKind,
  path: string,
  origin: string | undefined,
  text?: string,
): PyValue {
  if (value.kind === wanted) return value;
  if (value.kind === 'none') return NONE;
  if (wanted === 'none' && value.kind !== 'dict') return value;
  if (wanted === 'float' && value.kind === 'int') return { kind: 'float', value: value.value };
  if ((wanted === 'tuple' || wanted === 'list') && 'items' in value)
    return { kind: wanted, items: value.items };
  // Typed in a shell, `true` means the boolean; Python's literals only know `True`.
  if (wanted === 'bool' && text !== undefined && /^(true|false)$/i.test(text)) {
    return { kind: 'bool', value: text.toLowerCase() === 'true' };
  }
  throw new ConfigError(
    `${path} expects ${article(wanted)} but was given the ${value.kind} ${shorten(repr(value))}` +
      `${fromWhere(origin)}${hint(value, wanted, text)}`,
    path,
    origin,
  );
}

function article(kind: PyKind): string {
  return kind === 'int' ? 'an int' : `a ${kind}`;
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function hint(value: PyValue, wanted: PyKind, text: string | undefined): string {
  if (wanted === 'str' && text !== undefined) return `; to have it read as text, write '"${text}"'`;
  if (wanted === 'bool') return '; write True or False';
  if (wanted === 'int' && value.kind === 'float')
    return '; this key takes whole numbers, written without a point';
  if (wanted === 'tuple' || wanted === 'list') {
    const inner = value.kind === 'str' ? repr(value) : shorten(repr(value));
    return wanted === 'tuple' ? `; write '(${inner},)'` : `; write '[${inner}]'`;
  }
  return '';
}
