/** Writing of checkpoints in the zip format of `torch.save`. */

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Device } from '../device.js';
import { DType } from '../dtype.js';
import { Parameter } from '../nn/parameter.js';
import { Tensor } from '../tensor.js';
import { writeAtomic, writeAtomicSync } from './atomic-file.js';
import { dtypeNamed, storageClasses } from './dtypes.js';
import { bytesOf, storageOf, storageView } from './memory.js';
import { isPlain, maxDepth, Pickler } from './pickler.js';
import { OrderedDict } from './values.js';
import { ZipLayout } from './zip-writer.js';

/** What is written of one storage: the stretch, in elements, that the saved tensors reach. */
interface Stretch {
  /** Any tensor in the storage. */
  tensor: Tensor;
  dtype: DType;
  start: number;
  end: number;
  /** `data/<index>` in the archive; set when the pickle first names it. */
  index: number;
}

/** Every storage that is written, and where a tensor lies in it. */
class Storages {
  readonly #byMemory = new Map<string, Stretch>();
  readonly #byTensor = new Map<Tensor, { stretch: Stretch; offset: number }>();
  /** In the order of their index. */
  readonly written: Stretch[] = [];

  /** Finds the tensors in `value` and how much of each storage they need. */
  constructor(value: unknown) {
    const seen = new Set<object>();
    const visit = (item: unknown, depth: number): void => {
      // The pickler refuses what is nested deeper, and says where.
      if (typeof item !== 'object' || item === null || seen.has(item) || depth > maxDepth + 1) return;
      seen.add(item);
      if (item instanceof Tensor) this.#add(item);
      else for (const held of children(item)) visit(held, depth + 1);
    };
    visit(value, 0);
  }

  #add(tensor: Tensor): void {
    const { key, offset } = storageOf(tensor);
    const { shape, strides, dtype } = tensor;
    if (dtypeNamed(dtype.name) === undefined)
      throw new TypeError(`cannot save a tensor of dtype ${dtype.name}`);
    let end = offset;
    if (shape.includes(0)) end = offset;
    else end = offset + 1 + shape.reduce((sum, size, i) => sum + (size - 1) * (strides[i] as number), 0);
    // PyTorch reads a storage as one dtype: memory seen as two is written twice.
    const memory = `${key} ${dtype.name}`;
    const stretch = this.#byMemory.get(memory) ?? { tensor, dtype, start: offset, end, index: -1 };
    this.#byMemory.set(memory, stretch);
    stretch.start = Math.min(stretch.start, offset);
    stretch.end = Math.max(stretch.end, end);
    this.#byTensor.set(tensor, { stretch, offset });
  }

  /** Where `tensor` lies: in storage `index` of `count` elements, at `offset`. */
  place(tensor: Tensor): { index: number; count: number; offset: number } {
    const found = this.#byTensor.get(tensor);
    if (!found) throw new Error('the object changed while it was saved');
    const { stretch, offset } = found;
    if (stretch.index < 0) {
      stretch.index = this.written.length;
      this.written.push(stretch);
    }
    return { index: stretch.index, count: stretch.end - stretch.start, offset: offset - stretch.start };
  }
}

/** What the pickler writes inside of a container. */
function* children(container: object): Generator<unknown> {
  if (container instanceof Map) {
    yield* container.keys();
    yield* container.values();
    if (container instanceof OrderedDict) yield container.attributes;
  } else if (Array.isArray(container) || container instanceof Set) yield* container;
  else if (isPlain(container)) yield* Object.values(container);
}

/** Integers between parentheses. Sizes and strides are too short to be worth sharing. */
function writeTuple(pickler: Pickler, items: readonly number[]): void {
  pickler.raw('(');
  for (const item of items) pickler.write(item);
  pickler.raw('t');
}

function writeTensor(pickler: Pickler, tensor: Tensor, storages: Storages): void {
  const { index, count, offset } = storages.place(tensor);
  const { dtype, shape, strides } = tensor;
  const storageClass = storageClasses[dtype.name];
  const isParameter = tensor instanceof Parameter;
  if (isParameter) {
    pickler.global('torch._utils', '_rebuild_parameter');
    pickler.raw('(');
  }
  pickler.global('torch._utils', storageClass ? '_rebuild_tensor_v2' : '_rebuild_tensor_v3');
  pickler.raw('((');
  pickler.write('storage');
  if (storageClass) pickler.global('torch', storageClass);
  else pickler.global('torch.storage', 'UntypedStorage');
  pickler.write(String(index));
  pickler.write('cpu');
  pickler.write(storageClass ? count : count * dtype.itemsize);
  pickler.raw('tQ');
  pickler.write(offset);
  writeTuple(pickler, shape);
  writeTuple(pickler, strides);
  pickler.write(!isParameter && tensor.requiresGrad);
  writeNoHooks(pickler);
  if (!storageClass) pickler.global('torch', dtype.name);
  pickler.raw('tR');
  if (isParameter) {
    pickler.write(tensor.requiresGrad);
    writeNoHooks(pickler);
    pickler.raw('tR');
  }
}

function writeDevice(pickler: Pickler, { type, index }: Device): void {
  pickler.global('torch', 'device');
  pickler.raw('(');
  pickler.write(type);
  if (index >= 0) pickler.write(index);
  pickler.raw('tR');
}

/** Backward hooks, of which there are none: an empty OrderedDict. */
function writeNoHooks(pickler: Pickler): void {
  pickler.global('collections', 'OrderedDict');
  pickler.raw(')R');
}

/** A snapshot of an object's structure; the contents of its tensors are read while `pieces` is. */
class Archive {
  readonly #pickle: Buffer;
  /** Views of our own hold the memory, whatever becomes of the tensors meanwhile. */
  readonly #contents: Tensor[] = [];

  constructor(value: unknown) {
    const storages = new Storages(value);
    const pickler = new Pickler((item) => {
      if (item instanceof Tensor) writeTensor(pickler, item, storages);
      else if (item instanceof DType) pickler.global('torch', item.name);
      else if (item instanceof Device) writeDevice(pickler, item);
      else return false;
      return true;
    });
    this.#pickle = pickler.dump(value);
    for (const { tensor, dtype, start, end } of storages.written) {
      this.#contents.push(storageView(tensor, dtype, start, [end - start], [1]).keep());
    }
  }

  /** The archive from its first byte to its last; each piece is valid until the next is asked for. */
  *pieces(): Generator<Uint8Array> {
    const layout = new ZipLayout();
    const checksums = createHash('sha256');
    const whole = (name: string, content: Buffer): Buffer => {
      const crc = crc32(content);
      checksums.update(`${name} ${crc}\n`);
      return Buffer.concat([layout.begin(`archive/${name}`, content.length), content, layout.endEntry(crc)]);
    };
    yield whole('data.pkl', this.#pickle);
    yield whole('byteorder', Buffer.from('little'));
    for (const [i, content] of this.#contents.entries()) {
      const bytes = content.numel() * content.dtype.itemsize;
      const local = content.device.type === 'cpu' ? content : content.cpu().keep();
      let crc = 0;
      try {
        yield layout.begin(`archive/data/${i}`, bytes);
        for (const piece of bytesOf(local, bytes)) {
          crc = crc32(piece, crc);
          yield piece;
        }
      } finally {
        local.dispose();
      }
      checksums.update(`${i} ${crc}\n`);
      yield layout.endEntry(crc);
    }
    yield whole('version', Buffer.from('3\n'));
    // PyTorch's form: forty decimal digits that depend on the content.
    const id = BigInt(`0x${checksums.copy().digest('hex')}`)
      .toString()
      .padStart(40, '0')
      .slice(-40);
    yield whole('.data/serialization_id', Buffer.from(id));
    yield layout.end();
  }

  dispose(): void {
    for (const content of this.#contents) content.dispose();
  }
}

/**
 * Writes `value` as `torch.save` does, so that Python's `torch.load(path, weights_only=True)` reads it.
 *
 * `Map` and plain objects become `dict`, `OrderedDict` stays one, arrays become `list`, `PyTuple` `tuple`, `Set` `set`,
 * `Uint8Array` `bytes`; integral numbers and bigints become `int`, other numbers and `pyFloat(x)` `float`. Tensors keep
 * dtype, strides, `requiresGrad` and the memory they share, and are written as CPU tensors, so that any machine can
 * read them. Of each storage the stretch is written which the saved tensors reach: a slice of a large tensor makes a
 * small file (PyTorch would write the whole).
 *
 * The file is replaced at the end, in one step: until then, and after any error, `path` is as it was. Tensors must not
 * be changed before the promise is settled.
 *
 * @throws TypeError naming the place of a value that cannot be saved.
 */
export async function save(value: unknown, path: string): Promise<void> {
  const archive = new Archive(value);
  try {
    await writeAtomic(path, archive.pieces());
  } finally {
    archive.dispose();
  }
}

/** As `save`, at once. */
export function saveSync(value: unknown, path: string): void {
  const archive = new Archive(value);
  try {
    writeAtomicSync(path, archive.pieces());
  } finally {
    archive.dispose();
  }
}
