import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { repoRoot } from '../support/paths.js';
import { fakeLibtorch, importScript, temporaryFolder } from '../support/scripts.js';

interface NativeModule {
  compileJobs(cores: number, memory: number): number;
  compileProgress(line: string): string | null;
  withoutNoise(output: string): string;
}

const native = await importScript<NativeModule>('lib/native.mjs');
const GIB = 2 ** 30;

test('memory limits how many files compile at once', () => {
  assert.equal(native.compileJobs(2, 8 * GIB), 2);
  assert.equal(native.compileJobs(16, 8 * GIB), 4);
  assert.equal(native.compileJobs(4, 3 * GIB), 1);
  assert.equal(native.compileJobs(4, GIB / 2), 1);
});

test("Ninja's and make's progress lines become short", () => {
  const ninja = '[3/27] Building CXX object CMakeFiles/reid_native.dir/native/operators.cc.o';
  const make = '[ 11%] Building CXX object CMakeFiles/reid_native.dir/native/tensor.cc.o';
  assert.equal(native.compileProgress(ninja), '3 of 27: operators.cc');
  assert.equal(native.compileProgress(make), '11%: tensor.cc');
  const link = '[27/27] Linking CXX shared library Release/reid_native.node';
  assert.equal(native.compileProgress(link), '27 of 27: reid_native.node');
  assert.equal(native.compileProgress('-- The CXX compiler identification is GNU'), null);
});

test("a failed build shows the compiler's words, not the commands", () => {
  const output = [
    'INFO CMD BUILD',
    '[1/2] Building CXX object native/a.cc.o',
    'FAILED: CMakeFiles/reid_native.dir/native/a.cc.o ',
    '/usr/bin/c++ -DX -I/include -std=c++20 -o a.cc.o -c native/a.cc',
    "native/a.cc:1:9: error: 'x' was not declared",
    '    1 | int y = x;',
    'ERROR OMG Process terminated: 1',
  ].join('\n');
  const shown = native.withoutNoise(output).split('\n');
  assert.deepEqual(shown, [
    '[1/2] Building CXX object native/a.cc.o',
    "native/a.cc:1:9: error: 'x' was not declared",
    '    1 | int y = x;',
  ]);
});

/** Configures the real CMakeLists.txt with a made-up libtorch; returns cmake's output. */
function configure(folder: string, torchRoot: string): { ok: boolean; text: string } {
  const build = join(folder, `build-${torchRoot.replaceAll(/\W/g, '-')}`);
  const args = ['-S', repoRoot, '-B', build, `-DTORCH_ROOT=${join(folder, torchRoot)}`, '-DCMAKE_JS_INC='];
  const result = spawnSync('cmake', args, {
    encoding: 'utf8',
    env: { ...process.env, CUDA_HOME: '', CUDA_PATH: '' },
  });
  return { ok: result.status === 0, text: `${result.stdout}${result.stderr}`.replaceAll(/\s+/g, ' ') };
}

const CUDA_HEADERS = [
  'cuda_runtime_api.h',
  'crt/host_defines.h',
  'cublas_v2.h',
  'cusparse.h',
  'cusolverDn.h',
];

test('configuring says what the found libtorch offers', (t) => {
  const cuda = { version: '2.14.1', cuda: '13.0' };
  const headers = CUDA_HEADERS.map((name) => [`gpu/nvidia/cu13/include/${name}`, '']);
  const folder = temporaryFolder(t, {
    ...fakeLibtorch('cpu/torch'),
    ...fakeLibtorch('gpu/torch', cuda),
    ...Object.fromEntries(headers),
    'gpu/nvidia/cu13/include/cccl/cuda/std/version': '',
    'gpu/nvidia/nccl/include/nccl.h': '',
    ...fakeLibtorch('old', { version: '2.10.0' }),
    ...fakeLibtorch('new', { version: '2.15.0' }),
    ...fakeLibtorch('partial', { without: ['libc10'] }),
  });
  const cpu = configure(folder, 'cpu/torch');
  assert.ok(cpu.ok, cpu.text);
  assert.match(cpu.text, /-- reid-native: libtorch 2\.13\.0, CPU only, (JPEG|no libjpeg)/);

  const gpu = configure(folder, 'gpu/torch');
  assert.ok(gpu.ok, gpu.text);
  assert.match(gpu.text, /-- reid-native: libtorch 2\.14\.1, CUDA, NCCL,/);

  for (const [name, reason] of [
    ['old', /is version '2\.10\.0'; 2\.11 up to \(not including\) 2\.15 is supported\. Run: npm run setup/],
    ['new', /is version '2\.15\.0'/],
    ['partial', /is incomplete: .*libc10\.\w+ is missing/],
    ['absent', /is not a libtorch\. Run: npm run setup/],
  ] as const) {
    const failed = configure(folder, name);
    assert.ok(!failed.ok, name);
    assert.match(failed.text, reason);
  }
});
