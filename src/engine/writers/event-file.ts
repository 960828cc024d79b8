/**
 * TensorBoard's event files: records of TensorFlow's TFRecord format, each an `Event` message in protobuf's wire
 * format. Sources: the public definitions tensorflow/core/util/event.proto and tensorflow/core/framework/
 * summary.proto (field numbers), the page "TFRecord and tf.train.Example" (framing and masked checksum), the page
 * "Encoding" of Protocol Buffers (wire format), and RFC 3720, appendix B.4 (CRC-32C).
 */

import type { Histogram } from '../../torch/histogram.js';

/** One value of a summary, under a tag. */
export type SummaryValue =
  | { tag: string; scalar: number }
  | { tag: string; histogram: Histogram }
  | { tag: string; image: { width: number; height: number; channels: number; png: Uint8Array } };

/** One message: what it holds, and when. */
export interface EventMessage {
  /** Seconds since 1970. */
  wallTime: number;
  step: number;
  /** The first record of a file says `brain.Event:2`. */
  fileVersion?: string;
  values?: readonly SummaryValue[];
  /** A run begins (anew) at this step: readers drop what earlier files of the folder say from here on. */
  sessionStart?: boolean;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** A whole number of 0 or more in groups of seven bits, the lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const key = (field: number, wire: number): Buffer => varint(field * 8 + wire);

function doubles(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length);
  values.forEach((value, i) => {
    bytes.writeDoubleLE(value, 8 * i);
  });
  return bytes;
}

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, FIXED32), bytes]);
}

const integer = (field: number, value: number): Buffer => Buffer.concat([key(field, VARINT), varint(value)]);
const double = (field: number, value: number): Buffer =>
  Buffer.concat([key(field, FIXED64), doubles([value])]);
const bytes = (field: number, content: Uint8Array): Buffer =>
  Buffer.concat([key(field, BYTES), varint(content.length), content]);
const text = (field: number, content: string): Buffer => bytes(field, Buffer.from(content));

function histogramMessage({ min, max, count, sum, sumSquares, edges, counts }: Histogram): Buffer {
  return Buffer.concat([
    ...[min, max, count, sum, sumSquares].map((value, i) => double(i + 1, value)),
    // A bucket reaches from the limit of the one before to its own; the first begins at `min`.
    bytes(6, doubles(edges.slice(1))),
    bytes(7, doubles(counts)),
  ]);
}

function valueMessage(value: SummaryValue): Buffer {
  const tag = text(1, value.tag);
  if ('scalar' in value) return Buffer.concat([tag, float(2, value.scalar)]);
  if ('histogram' in value) return Buffer.concat([tag, bytes(5, histogramMessage(value.histogram))]);
  const { width, height, channels, png } = value.image;
  const image = [integer(1, height), integer(2, width), integer(3, channels), bytes(4, png)];
  return Buffer.concat([tag, bytes(4, Buffer.concat(image))]);
}

/** An `Event` in protobuf's wire format. */
export function encodeEvent({ wallTime, step, fileVersion, values, sessionStart }: EventMessage): Buffer {
  const parts = [double(1, wallTime), integer(2, step)];
  if (fileVersion !== undefined) parts.push(text(3, fileVersion));
  if (values !== undefined) {
    const summary = Buffer.concat(values.map((value) => bytes(1, valueMessage(value))));
    parts.push(bytes(5, summary));
  }
  if (sessionStart) parts.push(bytes(7, integer(1, 1)));
  return Buffer.concat(parts);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** The Castagnoli checksum. */
export function crc32c(content: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of content) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord's form of the checksum: turned right by 15 bits, and a constant added. */
function maskedCrc(content: Uint8Array): number {
  const crc = crc32c(content);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** A record: length, its checksum, content, its checksum. */
export function frameRecord(content: Uint8Array): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(content.length));
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc(content));
  return Buffer.concat([head, content, tail]);
}
