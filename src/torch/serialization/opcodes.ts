/** What every pickle opcode does, by its code. Those left out refer to things outside the file, or do not exist. */

import type { ByteReader } from './byte-reader.js';
import type { Unpickler } from './unpickler.js';
import { FileFormatError } from './values.js';

type Action = (u: Unpickler, r: ByteReader) => void;

/** Lengths of lines in the text protocols. */
const nameLimit = 1 << 12;
const numberLimit = 1 << 13;
const textLimit = 1 << 24;

function line(r: ByteReader, limit = numberLimit): string {
  return r.line(limit).toString('latin1').trim();
}

function refuse(why: string): Action {
  return () => {
    throw new FileFormatError(why);
  };
}

const structure: Record<string, Action> = {
  // PROTO
  '\x80': (_, r) => {
    if (r.u8() > 5) throw new FileFormatError('a pickle protocol above 5');
  },
  // FRAME only announces how much follows.
  '\x95': (_, r) => {
    r.u64();
  },
  // MARK, POP, POP_MARK, DUP
  '(': (u) => u.mark(),
  '0': (u) => u.discard(),
  '1': (u) => {
    u.popMark();
  },
  '2': (u) => u.push(u.top()),
  // PUT, BINPUT, LONG_BINPUT, MEMOIZE
  p: (u, r) => u.remember(Number(u.decimal(line(r)))),
  q: (u, r) => u.remember(r.u8()),
  r: (u, r) => u.remember(r.u32()),
  '\x94': (u) => u.remember(u.memoSize),
  // GET, BINGET, LONG_BINGET
  g: (u, r) => u.recall(Number(u.decimal(line(r)))),
  h: (u, r) => u.recall(r.u8()),
  j: (u, r) => u.recall(r.u32()),
};

const scalars: Record<string, Action> = {
  // NONE, NEWTRUE, NEWFALSE
  N: (u) => u.push(null),
  '\x88': (u) => u.push(true),
  '\x89': (u) => u.push(false),
  // INT, which in protocol 0 also spells booleans; LONG
  I: (u, r) => {
    const text = line(r);
    u.push(text === '00' ? false : text === '01' ? true : u.decimal(text));
  },
  L: (u, r) => u.push(u.decimal(line(r).replace(/L$/, ''))),
  // BININT, BININT1, BININT2, LONG1, LONG4
  J: (u, r) => u.push(r.i32()),
  K: (u, r) => u.push(r.u8()),
  M: (u, r) => u.push(r.u16()),
  '\x8a': (u, r) => u.long(r.bytes(r.u8())),
  '\x8b': (u, r) => u.long(r.bytes(r.u32())),
  // FLOAT, BINFLOAT
  F: (u, r) => u.float(u.decimalFloat(line(r))),
  G: (u, r) => u.float(r.f64()),
  // STRING, BINSTRING, SHORT_BINSTRING: Python 2's
  S: (u, r) => u.oldString(unquote(line(r, textLimit))),
  T: (u, r) => u.oldString(r.bytes(r.u32())),
  U: (u, r) => u.oldString(r.bytes(r.u8())),
  // UNICODE, SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
  V: (u, r) => u.push(rawUnicode(r.line(textLimit).toString('latin1'))),
  '\x8c': (u, r) => u.push(r.bytes(r.u8()).toString('utf8')),
  X: (u, r) => u.push(r.bytes(r.u32()).toString('utf8')),
  '\x8d': (u, r) => u.push(r.bytes(r.u64()).toString('utf8')),
  // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
  C: (u, r) => u.pushNew(Uint8Array.from(r.bytes(r.u8()))),
  B: (u, r) => u.pushNew(Uint8Array.from(r.bytes(r.u32()))),
  '\x8e': (u, r) => u.pushNew(Uint8Array.from(r.bytes(r.u64()))),
  '\x96': (u, r) => u.pushNew(Uint8Array.from(r.bytes(r.u64()))),
};

const containers: Record<string, Action> = {
  // EMPTY_LIST, LIST, APPEND, APPENDS
  ']': (u) => u.pushNew([]),
  l: (u) => u.pushNew(u.popMark()),
  a: (u) => u.append([u.pop()]),
  e: (u) => u.append(u.popMark()),
  // EMPTY_TUPLE, TUPLE, TUPLE1, TUPLE2, TUPLE3
  ')': (u) => u.tuple([]),
  t: (u) => u.tuple(u.popMark()),
  '\x85': (u) => u.tuple(u.popSome(1)),
  '\x86': (u) => u.tuple(u.popSome(2)),
  '\x87': (u) => u.tuple(u.popSome(3)),
  // EMPTY_DICT, DICT, SETITEM, SETITEMS
  '}': (u) => u.pushNew(new Map()),
  d: (u) => {
    const items = u.popMark();
    u.pushNew(new Map());
    u.setItems(items);
  },
  s: (u) => u.setItems(u.popSome(2)),
  u: (u) => u.setItems(u.popMark()),
  // EMPTY_SET, ADDITEMS, FROZENSET
  '\x8f': (u) => u.pushNew(new Set()),
  '\x90': (u) => u.addItems(u.popMark()),
  '\x91': (u) => u.pushNew(new Set(u.popMark())),
};

const objects: Record<string, Action> = {
  // GLOBAL, STACK_GLOBAL
  c: (u, r) => {
    const module = r.line(nameLimit).toString('utf8');
    u.global(module, r.line(nameLimit).toString('utf8'));
  },
  '\x93': (u) => {
    const [module, name] = u.popSome(2);
    u.global(module, name);
  },
  // REDUCE, NEWOBJ, NEWOBJ_EX
  R: (u) => u.call(),
  '\x81': (u) => u.call(),
  '\x92': (u) => {
    const keywords = u.pop();
    if (!(keywords instanceof Map) || keywords.size > 0) {
      throw new FileFormatError('an object made with keyword arguments');
    }
    u.call();
  },
  // INST, OBJ: Python 2's
  i: (u, r) => {
    const module = r.line(nameLimit).toString('utf8');
    const name = r.line(nameLimit).toString('utf8');
    const args = u.popMark();
    u.global(module, name);
    u.invoke(u.pop(), args);
  },
  o: (u) => {
    const [target, ...args] = u.popMark();
    u.invoke(target, args);
  },
  // BUILD, BINPERSID
  b: (u) => u.build(),
  Q: (u) => u.persistent(u.pop()),
  P: refuse('a persistent id in text form, which PyTorch does not write'),
  // EXT1, EXT2, EXT4, NEXT_BUFFER, READONLY_BUFFER
  '\x82': refuse('refers to a registry of extensions, which is not in the file'),
  '\x83': refuse('refers to a registry of extensions, which is not in the file'),
  '\x84': refuse('refers to a registry of extensions, which is not in the file'),
  '\x97': refuse('refers to a buffer outside the file'),
  '\x98': refuse('refers to a buffer outside the file'),
};

/** By opcode; holes are not opcodes. STOP (`.`) is the reading loop's own. */
export const opcodes: ReadonlyArray<Action | undefined> = (() => {
  const actions = new Array<Action | undefined>(256).fill(undefined);
  for (const table of [structure, scalars, containers, objects]) {
    for (const [code, action] of Object.entries(table)) actions[code.charCodeAt(0)] = action;
  }
  return actions;
})();

/** The bytes of a Python string literal, as protocol 0 writes them. */
function unquote(literal: string): Uint8Array {
  const quote = literal[0];
  if (literal.length < 2 || (quote !== '"' && quote !== "'") || !literal.endsWith(quote)) {
    throw new FileFormatError('a malformed string');
  }
  const text = literal.slice(1, -1).replace(/\\(x[0-9a-fA-F]{2}|[\\'"nrtabfv0])/g, (_, code: string) => {
    if (code[0] === 'x') return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    const at = 'nrtabfv0'.indexOf(code);
    return at < 0 ? code : ('\n\r\t\x07\b\f\v\0'[at] as string);
  });
  return Buffer.from(text, 'latin1');
}

/** Python's raw-unicode-escape, of which pickle uses \uXXXX and \UXXXXXXXX. */
function rawUnicode(text: string): string {
  return text.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (whole, short?: string, long?: string) => {
    const code = Number.parseInt(short ?? long ?? '', 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
