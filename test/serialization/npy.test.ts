import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as torch from '../../src/torch/index.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-npy-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const path = join(folder, 'array.npy');

/** Files that NumPy 2 wrote with numpy.lib.format.write_array. */
const BY_NUMPY = {
  // arange(6, float32).reshape(2, 3) / 4
  float32:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsIDMpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAACAPgAAAD8AAEA/AACAPwAAoD8=',
  // the same in float64, asfortranarray
  fortran:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY4JywgJ2ZvcnRyYW5fb3JkZXInOiBUcnVlLCAnc2hhcGUnOiAoMiwgMyksIH0gICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAAAAAAAAAAAAAAAAAAOg/AAAAAAAA0D8AAAAAAADwPwAAAAAAAOA/AAAAAAAA9D8=',
  // array([1, -2, 3], int64), version 2.0
  int64:
    'k05VTVBZAgB0AAAAeydkZXNjcic6ICc8aTgnLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoMywpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAAAAAAAAAP7/////////AwAAAAAAAAA=',
  // array(2.5, float16), version 3.0
  scalar:
    'k05VTVBZAwB0AAAAeydkZXNjcic6ICc8ZjInLCAnZm9ydHJhbl9vcmRlcic6IEZhbHNlLCAnc2hhcGUnOiAoKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoAQQ==',
  // array([True, False])
  bool: 'k05VTVBZAQB2AHsnZGVzY3InOiAnfGIxJywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDIsKSwgfSAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAoBAA==',
  // zeros((0, 4), float32)
  empty:
    'k05VTVBZAQB2AHsnZGVzY3InOiAnPGY0JywgJ2ZvcnRyYW5fb3JkZXInOiBGYWxzZSwgJ3NoYXBlJzogKDAsIDQpLCB9ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIAo=',
};

function loadBytes(bytes: Buffer): torch.Tensor {
  writeFileSync(path, bytes);
  return torch.loadNpy(path);
}
const numpy = (name: keyof typeof BY_NUMPY): Buffer => Buffer.from(BY_NUMPY[name], 'base64');

test("NumPy's files are read: orders, dtypes, versions, shapes", () => {
  const sixths = [
    [0, 0.25, 0.5],
    [0.75, 1, 1.25],
  ];
  for (const [name, dtype, values] of [
    ['float32', torch.float32, sixths],
    ['fortran', torch.float64, sixths],
    ['int64', torch.int64, [1n, -2n, 3n]],
    ['bool', torch.bool, [true, false]],
  ] as const) {
    const tensor = loadBytes(numpy(name));
    assert.equal(tensor.dtype, dtype, name);
    assert.equal(
      JSON.stringify((tensor.tolist() as unknown[]).map(String)),
      JSON.stringify(values.map(String)),
      name,
    );
  }
  const scalar = loadBytes(numpy('scalar'));
  assert.deepEqual([scalar.shape, scalar.item()], [[], 2.5]);
  assert.deepEqual(loadBytes(numpy('empty')).shape, [0, 4]);
});

test('what is written is what NumPy writes', () => {
  const expected = torch.arange(6).to(torch.float32).view([2, 3]).div(4);
  torch.saveNpy(expected, path);
  assert.deepEqual(readFileSync(path), numpy('float32'));
  torch.saveNpy(expected.t(), path);
  assert.deepEqual(torch.loadNpy(path).toArray(), expected.t().toArray());
});

test('every dtype that NumPy has goes there and back', () => {
  for (const dtype of [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
  ]) {
    const tensor = torch.tensor([0, 1, 1]).to(dtype);
    torch.saveNpy(tensor, path);
    const back = torch.loadNpy(path);
    assert.equal(back.dtype, tensor.dtype);
    assert.deepEqual(back.toArray(), tensor.toArray());
  }
  assert.throws(() => torch.saveNpy(torch.ones([2]).to(torch.bfloat16), path), /NumPy has no bfloat16/);
  assert.deepEqual(readdirSync(folder), ['array.npy']);
});

test('damaged and foreign files are named, and nothing in them is executed', () => {
  const good = numpy('float32');
  const replaced = (from: string, to: string): Buffer =>
    Buffer.from(good.toString('latin1').replace(from, to), 'latin1');
  const cases: [Buffer, RegExp][] = [
    [good.subarray(0, good.length - 3), /takes 24 bytes, but 21 follow the header/],
    [good.subarray(0, 40), /a header of 118 bytes is impossible/],
    [good.subarray(0, 3), /not a \.npy file/],
    [Buffer.from('PK\x03\x04 something else'), /not a \.npy file/],
    [replaced("'<f4'", "'|O' "), /Python objects, which are never read/],
    [replaced("'<f4'", "'>f4'"), /dtype '>f4' is not supported/],
    [replaced('False', 'Maybe'), /its header cannot be read/],
    [replaced('(2, 3)', '(9, 9)'), /takes 324 bytes/],
  ];
  for (const [bytes, message] of cases) {
    assert.throws(
      () => loadBytes(bytes),
      (error: Error) =>
        error instanceof torch.FileFormatError && error.message.includes(path) && message.test(error.message),
      String(message),
    );
  }
});
