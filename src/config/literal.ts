import type { PyValue } from './pyvalue.js';
import { NONE } from './pyvalue.js';

/**
 * Reads Python literals: numbers, strings, True/False/None, and tuples, lists and dicts of them, as
 * `ast.literal_eval` does. Bytes, sets, complex numbers, f-strings, `...` and `\N{…}` escapes are no configuration
 * values and count as "not a literal".
 */

// Python's own tokenizer stops at this many open brackets.
const MAX_DEPTH = 200;

class NotLiteral extends Error {}

/** The value a Python literal stands for, or undefined when the text is none. Never throws. */
export function parseLiteral(text: string): PyValue | undefined {
  try {
    return new Parser(text).parse();
  } catch (error) {
    if (error instanceof NotLiteral) return undefined;
    throw error;
  }
}

/** How a string in a file or on the command line is read: as a Python literal, or else as itself. */
export function decodeString(text: string): PyValue {
  return parseLiteral(text) ?? { kind: 'str', value: text };
}

const INTEGER = /0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|0(?:_?0)*|[1-9](?:_?[0-9])*/y;
const DIGITS = '[0-9](?:_?[0-9])*';
const FLOAT = new RegExp(
  `(?:${DIGITS}\\.(?:${DIGITS})?|\\.${DIGITS})(?:[eE][-+]?${DIGITS})?|${DIGITS}[eE][-+]?${DIGITS}`,
  'y',
);
const NAME = /[\p{ID_Start}_][\p{ID_Continue}]*/uy;
const STRING_START = /([rRuU]?)("""|'''|"|')/y;
const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

class Parser {
  private readonly text: string;
  private at = 0;
  private depth = 0;

  constructor(text: string) {
    // Python's source reader knows one kind of line end.
    this.text = text.replace(/^[ \t]+/, '').replace(/\r\n?/g, '\n');
  }

  parse(): PyValue {
    if (this.text.includes('\0')) throw new NotLiteral();
    this.skipBlankLines();
    const first = this.value();
    this.space();
    let result = first;
    if (this.text[this.at] === ',') {
      // A tuple needs no parentheses: `"a", "b"`.
      const items = [first];
      while (this.take(',')) {
        if (this.atEndOfLine()) break;
        items.push(this.value());
        this.space();
      }
      result = { kind: 'tuple', items };
    }
    while (this.at < this.text.length) {
      this.space();
      if (this.at < this.text.length && !this.take('\n')) throw new NotLiteral();
    }
    return result;
  }

  /** Skips blanks and comments, and line ends too inside brackets. */
  private space(): void {
    for (;;) {
      const char = this.text[this.at];
      if (char === ' ' || char === '\t' || char === '\f' || (char === '\n' && this.depth > 0)) this.at++;
      else if (char === '#') this.skipComment();
      else if (char === '\\' && this.text[this.at + 1] === '\n' && this.at + 2 < this.text.length)
        this.at += 2;
      else return;
    }
  }

  /** Empty lines may come first, but the expression itself must not be indented. */
  private skipBlankLines(): void {
    for (;;) {
      const start = this.at;
      this.space();
      if (this.text[this.at] === '\n') this.at++;
      else {
        if (start > 0 && /[ \t]/.test(this.text.slice(start, this.at))) throw new NotLiteral();
        return;
      }
    }
  }

  private skipComment(): void {
    while (this.at < this.text.length && this.text[this.at] !== '\n') this.at++;
  }

  private atEndOfLine(): boolean {
    this.space();
    return this.at >= this.text.length || this.text[this.at] === '\n';
  }

  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found) this.at = pattern.lastIndex;
    return found;
  }

  private value(): PyValue {
    this.space();
    const char = this.text[this.at];
    if (char === '+' || char === '-') {
      this.at++;
      return this.signed(char);
    }
    if (char === '(') return this.parenthesized();
    if (char === '[') {
      this.open();
      return { kind: 'list', items: this.items(']') };
    }
    if (char === '{') return this.dict();
    return this.strings() ?? this.number() ?? this.name();
  }

  /** One sign before a number; a second sign or a sign before True is no literal. */
  private signed(sign: '+' | '-'): PyValue {
    this.space();
    const char = this.text[this.at];
    const operand = char === '(' ? this.parenthesized() : this.number();
    if (!operand || (operand.kind !== 'int' && operand.kind !== 'float')) throw new NotLiteral();
    // `-(-1)`: the parentheses are not part of Python's syntax tree, so this is a second sign as well.
    if (operand.value < 0 || Object.is(operand.value, -0)) throw new NotLiteral();
    if (sign === '+') return operand;
    if (operand.kind === 'int') return { kind: 'int', value: operand.value === 0 ? 0 : -operand.value };
    return { kind: 'float', value: -operand.value };
  }

  private open(): void {
    this.at++;
    if (++this.depth > MAX_DEPTH) throw new NotLiteral();
  }

  private parenthesized(): PyValue {
    this.open();
    this.space();
    if (this.take(')')) {
      this.depth--;
      return { kind: 'tuple', items: [] };
    }
    const first = this.value();
    this.space();
    if (this.take(')')) {
      this.depth--;
      return first;
    }
    if (!this.take(',')) throw new NotLiteral();
    return { kind: 'tuple', items: [first, ...this.items(')')] };
  }

  /** Items up to the closing bracket, which is consumed; a trailing comma is fine. */
  private items(close: string): PyValue[] {
    const items: PyValue[] = [];
    for (;;) {
      this.space();
      if (this.take(close)) break;
      items.push(this.value());
      this.space();
      if (this.take(close)) break;
      if (!this.take(',')) throw new NotLiteral();
    }
    this.depth--;
    return items;
  }

  private dict(): PyValue {
    this.open();
    const entries: [PyValue, PyValue][] = [];
    for (;;) {
      this.space();
      if (this.take('}')) break;
      const key = this.value();
      this.space();
      if (!hashable(key) || !this.take(':')) throw new NotLiteral();
      entries.push([key, this.value()]);
      this.space();
      if (this.take('}')) break;
      if (!this.take(',')) throw new NotLiteral();
    }
    this.depth--;
    return { kind: 'dict', entries };
  }

  private number(): PyValue | undefined {
    const real = this.match(FLOAT);
    if (real) {
      this.endOfNumber();
      return { kind: 'float', value: Number(real[0].replaceAll('_', '')) };
    }
    const whole = this.match(INTEGER);
    if (!whole) return undefined;
    this.endOfNumber();
    const value = Number(whole[0].replaceAll('_', ''));
    // An integer JavaScript cannot hold exactly had better stay text than become another number.
    if (!Number.isSafeInteger(value)) throw new NotLiteral();
    return { kind: 'int', value };
  }

  /** `50x`, `012`, `1_`, `3j` and `1.2.3` are not numbers with something behind them; they are no literals. */
  private endOfNumber(): void {
    if (/^[\p{ID_Continue}.]/u.test(this.text.slice(this.at, this.at + 2))) throw new NotLiteral();
  }

  private name(): PyValue {
    switch (this.match(NAME)?.[0]) {
      case 'True':
        return { kind: 'bool', value: true };
      case 'False':
        return { kind: 'bool', value: false };
      case 'None':
        return NONE;
      default:
        throw new NotLiteral();
    }
  }

  /** One string or several adjacent ones, which Python joins. */
  private strings(): PyValue | undefined {
    let start = this.match(STRING_START);
    if (!start) return undefined;
    let value = '';
    while (start) {
      value += this.string(start[1].toLowerCase() === 'r', start[2]);
      this.space();
      start = this.match(STRING_START);
    }
    return { kind: 'str', value };
  }

  private string(raw: boolean, quote: string): string {
    let out = '';
    for (;;) {
      const char = this.text[this.at];
      if (char === undefined || (char === '\n' && quote.length === 1)) throw new NotLiteral();
      if (this.text.startsWith(quote, this.at)) {
        this.at += quote.length;
        return out;
      }
      this.at++;
      if (char !== '\\') out += char;
      else out += raw ? this.rawEscape() : this.escape();
    }
  }

  private rawEscape(): string {
    const char = this.text[this.at++];
    if (char === undefined) throw new NotLiteral();
    return `\\${char}`;
  }

  private escape(): string {
    const octal = this.match(/[0-7]{1,3}/y);
    if (octal) return String.fromCodePoint(Number.parseInt(octal[0], 8));
    const char = this.text[this.at++];
    if (char === undefined || char === 'N') throw new NotLiteral();
    const width = { x: 2, u: 4, U: 8 }[char];
    if (width !== undefined) {
      const digits = this.text.slice(this.at, this.at + width);
      const code =
        /^[0-9a-fA-F]+$/.test(digits) && digits.length === width ? Number.parseInt(digits, 16) : -1;
      if (code < 0 || code > 0x10ffff) throw new NotLiteral();
      this.at += width;
      return String.fromCodePoint(code);
    }
    // An unknown escape keeps its backslash, as in Python.
    return SIMPLE_ESCAPES[char] ?? `\\${char}`;
  }
}

/** Whether Python could use the value as a dict key. */
function hashable(value: PyValue): boolean {
  if (value.kind === 'tuple') return value.items.every(hashable);
  return value.kind !== 'list' && value.kind !== 'dict';
}
