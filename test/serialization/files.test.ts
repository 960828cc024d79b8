import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as torch from '../../src/torch/index.js';
import { writeAtomic, writeAtomicSync } from '../../src/torch/serialization/atomic-file.js';
import { readZipDirectory } from '../../src/torch/serialization/zip-reader.js';
import { ZipLayout } from '../../src/torch/serialization/zip-writer.js';
import { pythonTorch, repoRoot } from '../support/paths.js';

const root = mkdtempSync(join(tmpdir(), 'reid-native-files-'));
after(() => rmSync(root, { recursive: true, force: true }));
let folder = root;
beforeEach(() => {
  folder = mkdtempSync(join(root, 'case-'));
});

const zip = readFileSync(join(repoRoot, 'test/serialization/fixtures/zip.pth'));
const legacy = readFileSync(join(repoRoot, 'test/serialization/fixtures/legacy.pth'));
const lfs = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n';
const wrong: Record<string, [Buffer, RegExp]> = {
  'an empty file': [Buffer.alloc(0), /an empty file/],
  'a text file': [Buffer.from('hello world, no weights here'), /text, beginning "hello world/],
  'a web page': [Buffer.from('\n<!DOCTYPE html><html>404</html>'), /a web page/],
  'a gzipped checkpoint': [gzipSync(zip), /gzip data; unpack it first/],
  'a Git LFS pointer': [Buffer.from(lfs), /Git LFS pointer.*git lfs pull/],
  'random bytes': [
    Buffer.from([1, 2, 3, 200, 201, 202, 5, 6]),
    /unknown kind, beginning with the bytes 010203c8/,
  ],
  'an image': [Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), /a PNG image/],
};
for (const [name, [content, message]] of Object.entries(wrong)) {
  test(`${name} is named as such by every reader`, async () => {
    const path = join(folder, 'weights.pth');
    writeFileSync(path, content);
    const named = (error: Error): boolean =>
      error instanceof torch.FileFormatError && error.message.startsWith(path) && message.test(error.message);
    assert.throws(() => torch.loadSync(path), named);
    await assert.rejects(torch.load(path), named);
    assert.throws(() => torch.loadSafetensors(path), named);
  });
}

test('the two formats point at each other', () => {
  const path = join(folder, 'weights.bin');
  torch.saveSafetensors(new Map([['a', torch.ones([2])]]), path);
  assert.throws(() => torch.loadSync(path), /safetensors file: read it with loadSafetensors/);
  writeFileSync(path, zip);
  assert.throws(() => torch.loadSafetensors(path), /a zip archive\. PyTorch files are read with load/);
  writeFileSync(path, legacy);
  assert.throws(() => torch.loadSafetensors(path), /a Python pickle\. PyTorch files/);
});

test('a missing file and a folder are the errors of the system', async () => {
  assert.throws(() => torch.loadSync(join(folder, 'none.pth')), { code: 'ENOENT' });
  await assert.rejects(torch.load(join(folder, 'none.pth')), { code: 'ENOENT' });
  assert.throws(() => torch.loadSync(folder), /EISDIR/);
  assert.throws(() => torch.saveSync({}, join(folder, 'none', 'x.pth')), { code: 'ENOENT' });
});

test('a file cut off anywhere is an error that names it', () => {
  const path = join(folder, 'cut.pth');
  for (const whole of [zip, legacy]) {
    for (let size = 1; size < whole.length; size += 61) {
      writeFileSync(path, whole.subarray(0, size));
      assert.throws(
        () => torch.loadSync(path),
        (error: Error) => error instanceof torch.FileFormatError && error.message.startsWith(path),
        `${size} bytes`,
      );
    }
  }
  writeFileSync(path, zip.subarray(0, 2000));
  assert.throws(() => torch.loadSync(path), /truncated at 2000 bytes/);
});

test('other zip archives are told apart', () => {
  const path = join(folder, 'other.pth');
  writeFileSync(path, Buffer.concat([Buffer.from('PK\x05\x06'), Buffer.alloc(18)]));
  assert.throws(() => torch.loadSync(path), /without data\.pkl: not a file of torch\.save/);
});

test('saving replaces the file in one step, keeps its permissions and follows links', async () => {
  const path = join(folder, 'model.pth');
  writeFileSync(path, 'old');
  chmodSync(path, 0o640);
  const link = join(folder, 'link.pth');
  symlinkSync(path, link);
  await torch.save({ a: torch.ones([3]) }, link);
  assert.ok(lstatSync(link).isSymbolicLink());
  assert.equal(statSync(path).mode & 0o777, 0o640);
  assert.deepEqual(
    ((torch.loadSync(path) as Map<string, torch.Tensor>).get('a') as torch.Tensor).toArray(),
    [1, 1, 1],
  );
  assert.deepEqual(readdirSync(folder).sort(), ['link.pth', 'model.pth']);
});

test('a write that fails leaves the old file and nothing else', async () => {
  const path = join(folder, 'model.pth');
  writeFileSync(path, 'old');
  const failing = function* (): Generator<Uint8Array> {
    yield Buffer.alloc(1000);
    // The temporary file is beside the real one, which is untouched.
    assert.equal(readFileSync(path, 'utf8'), 'old');
    assert.equal(readdirSync(folder).length, 2);
    throw new Error('the disk is full');
  };
  assert.throws(() => writeAtomicSync(path, failing()), /disk is full/);
  await assert.rejects(writeAtomic(path, failing()), /disk is full/);
  await assert.rejects(torch.save({ bad: () => 1 }, path), /a function at bad/);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(folder), ['model.pth']);
});

test('a write that the system refuses midway leaves the old file', {
  skip: process.platform === 'win32',
}, () => {
  const path = join(folder, 'model.pth');
  writeFileSync(path, 'old');
  const library = new URL('../../src/torch/index.js', import.meta.url).href;
  // Files may not grow beyond 32 KiB in this shell, which is what a full disk looks like to a program.
  const script = `
    import * as torch from ${JSON.stringify(library)};
    const big = { a: torch.zeros([1 << 18]) };
    for (const attempt of [async () => torch.saveSync(big, process.argv[1]), () => torch.save(big, process.argv[1])]) {
      try { await attempt(); console.log('saved'); } catch (error) { console.log(error.code, error.message.includes(process.argv[1])); }
    }`;
  const result = spawnSync(
    'sh',
    [
      '-c',
      `trap '' XFSZ; ulimit -f 64; exec "$0" --input-type=module -e "$1" "$2"`,
      process.execPath,
      script,
      path,
    ],
    { encoding: 'utf8' },
  );
  assert.equal(result.stdout, 'EFBIG true\nEFBIG true\n', result.stderr);
  assert.equal(readFileSync(path, 'utf8'), 'old');
  assert.deepEqual(readdirSync(folder), ['model.pth']);
});

test('what is saved is the moment of the call, whatever happens to the objects afterwards', async () => {
  const path = join(folder, 'model.pth');
  const state = new Map<string, unknown>([['a', torch.ones([2])]]);
  const saving = torch.save(state, path);
  (state.get('a') as torch.Tensor).dispose();
  state.set('b', 1);
  await saving;
  const back = torch.loadSync(path) as Map<string, torch.Tensor>;
  assert.deepEqual([...back.keys()], ['a']);
  assert.deepEqual(back.get('a')!.toArray(), [1, 1]);
});

test('equal contents make equal files', () => {
  const [a, b] = [join(folder, 'a.pth'), join(folder, 'b.pth')];
  for (const path of [a, b]) torch.saveSync({ x: torch.ones([2]), y: [1, 'z'] }, path);
  assert.deepEqual(readFileSync(a), readFileSync(b));
});

test('the event loop runs while a file is read and written', async () => {
  const path = join(folder, 'large.pth');
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await torch.save({ x: torch.zeros([1 << 25]) }, path);
  const whileSaving = ticks;
  await torch.load(path);
  clearInterval(timer);
  assert.ok(whileSaving > 0 && ticks > whileSaving, `${whileSaving}, ${ticks}`);
});

test('archives beyond 4 GiB are laid out so that they can be read', () => {
  const path = join(folder, 'sparse.zip');
  const size = 5 * 2 ** 30;
  const layout = new ZipLayout();
  const fd = openSync(path, 'w+');
  try {
    // A hole in the file stands for the content: it takes no space.
    let at = 0;
    const put = (bytes: Uint8Array): void => {
      writeSync(fd, bytes, 0, bytes.length, at);
      at += bytes.length;
    };
    for (const [name, length] of [
      ['data/0', size],
      ['data/1', 3],
    ] as const) {
      put(layout.begin(`archive/${name}`, length));
      assert.equal(at % 64, 0);
      at += length;
      put(layout.endEntry(length % 2 ** 32));
    }
    put(layout.end());
    const entries = readZipDirectory(fd, at);
    assert.equal(entries.get('data/0')?.size, size);
    assert.equal(
      entries.get('data/0')?.position,
      64 * Math.ceil((30 + 'archive/data/0'.length + 20 + 4) / 64),
    );
    assert.equal(entries.get('data/1')?.crc32, 3);
    assert.ok((entries.get('data/1')?.position ?? 0) > size);
  } finally {
    closeSync(fd);
  }
  const { command, env } = pythonTorch() ?? {};
  if (command === undefined) return;
  const code =
    'import sys, zipfile; print([(i.file_size, i.CRC) for i in zipfile.ZipFile(sys.argv[1]).infolist()])';
  const listed = spawnSync(command, ['-c', code, path], { env, encoding: 'utf8' });
  assert.equal(listed.stdout.trim(), `[(${size}, ${size % 2 ** 32}), (3, 3)]`, listed.stderr);
});
