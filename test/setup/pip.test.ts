import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { type FakeLibtorch, fakeLibtorch, importScript, temporaryFolder } from '../support/scripts.js';

interface Python {
  command: string;
  version: string;
  torch: null;
  pip: boolean;
}

type Runner = (command: string, args: string[]) => Promise<{ code: number; output: string }>;

interface PipModule {
  requirements(variant: string): string[];
  pipArguments(
    packages: string[],
    target: string,
    options: { withDependencies: boolean; pythonVersion: string },
  ): string[];
  cudaLibraries(metadata: string): string[];
  cudaHeaders(cuda: string | null): string[];
  choosePython(pythons: Python[]): Python | undefined;
  requirePython(pythons: Python[]): Python;
  pipReason(output: string): string;
  pipInstall(options: {
    variant: 'cpu' | 'cuda';
    folder: string;
    pythons: Python[];
    onProgress: (text: string) => void;
    runner: Runner;
  }): Promise<{ root: string; version: string; variant: string }>;
}

const pip = await importScript<PipModule>('lib/pip-torch.mjs');

const python = (version: string, hasPip = true): Python => {
  return { command: `python${version}`, version, torch: null, pip: hasPip };
};

const METADATA = `Name: torch
Requires-Dist: filelock
Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.3; platform_system == "Linux"
Requires-Dist: cuda-bindings<14,>=13.0.3; platform_system == "Linux"
Requires-Dist: nvidia-nccl-cu13 (==2.30.7) ; platform_system == "Linux"
Requires-Dist: triton~=3.8.0; platform_system == "Linux"
`;

/** A pip that gives what `offers` says for a requirement, and fails for others. */
function fakePip(offers: Record<string, FakeLibtorch>) {
  const calls: string[][] = [];
  const runner: Runner = async (_command, args) => {
    const packages = args.slice(args.indexOf('off') + 1);
    calls.push(packages);
    const target = args[args.indexOf('--target') + 1];
    if (packages.every((name) => name.startsWith('nvidia') || name.startsWith('cuda'))) {
      const headers = packages.some((name) => name.startsWith('nvidia-cuda-crt'));
      return headers ? { code: 1, output: 'ERROR: No matching distribution found for nvidia-cuda-crt' } : ok;
    }
    const offer = offers[packages[0]];
    if (!offer)
      return { code: 1, output: `noise\nERROR: No matching distribution found for ${packages[0]}\n` };
    const files = {
      ...fakeLibtorch('torch', offer),
      'torch-2.dist-info/METADATA': offer.cuda ? METADATA : '',
    };
    for (const [path, contents] of Object.entries(files)) {
      mkdirSync(dirname(join(target, path)), { recursive: true });
      writeFileSync(join(target, path), contents);
    }
    return ok;
  };
  return { runner, calls };
}

const ok = { code: 0, output: '' };

const install = (variant: 'cpu' | 'cuda', folder: string, runner: Runner) =>
  pip.pipInstall({ variant, folder, pythons: [python('3.11.7')], onProgress: () => {}, runner });

test('a CPU build is asked for by its local version first', async (t) => {
  const folder = join(temporaryFolder(t), 'cache');
  const { runner, calls } = fakePip({
    'torch==2.13.0+cpu': { local: 'cpu' },
    'torch==2.13.0': { cuda: '13.0' },
  });
  const found = await install('cpu', folder, runner);
  assert.deepEqual(found.root, join(folder, '2.13.0-cpu/torch'));
  assert.equal(found.version, '2.13.0+cpu');
  assert.deepEqual(calls, [['torch==2.13.0+cpu']]);
  assert.deepEqual(readdirSync(folder), ['2.13.0-cpu'], 'no temporary folder is left');
});

test('where only a CUDA build is to be had, it is taken with the libraries it loads', async (t) => {
  const folder = temporaryFolder(t);
  const { runner, calls } = fakePip({ 'torch==2.13.0': { local: 'cu130', cuda: '13.0' } });
  const found = await install('cpu', folder, runner);
  assert.deepEqual([found.variant, readdirSync(folder)], ['cuda', ['2.13.0-cuda']]);
  const libraries = ['cuda-toolkit[cublas,cudart]==13.0.3', 'nvidia-nccl-cu13==2.30.7'];
  assert.deepEqual(calls, [
    ['torch==2.13.0+cpu'],
    ['torch==2.13.0'],
    [...libraries, 'nvidia-cuda-crt==13.0.*', 'nvidia-cuda-cccl==13.0.*'],
    libraries,
  ]);
});

test('CUDA is not satisfied by a CPU build, and the error lists what was tried and what may help', async (t) => {
  const folder = temporaryFolder(t);
  const { runner } = fakePip({ 'torch===2.13.0': { local: 'cpu' } });
  await assert.rejects(install('cuda', folder, runner), (error: Error & { format(): string }) => {
    const text = error.format();
    assert.match(text, /libtorch 2\.13\.0 \(cuda\) could not be downloaded/);
    assert.match(text, /'torch===2\.13\.0': gave 2\.13\.0\+cpu, a CPU build/);
    assert.match(text, /No matching distribution found for torch>=2\.11,<2\.15/);
    assert.match(text, /LIBTORCH=\/path\/to\/libtorch npm run setup/);
    return true;
  });
  assert.deepEqual(readdirSync(folder), []);
});

test("a killed download's folder is removed, a running one's is not", async (t) => {
  const running = `2.13.0-cpu.tmp-${process.ppid}`;
  const folder = temporaryFolder(t, { '2.13.0-cpu.tmp-999999999/site/x': '', [`${running}/site/x`]: '' });
  const { runner } = fakePip({ 'torch==2.13.0+cpu': {} });
  await install('cpu', folder, runner);
  assert.deepEqual(readdirSync(folder).sort(), ['2.13.0-cpu', running].sort());
});

test('something broken where the download belongs is replaced', async (t) => {
  const folder = temporaryFolder(t, fakeLibtorch('2.13.0-cpu/torch', { without: ['libc10'] }));
  const { runner } = fakePip({ 'torch==2.13.0+cpu': {} });
  const { root } = await install('cpu', folder, runner);
  assert.ok(existsSync(join(root, 'lib')));
});

test('pip runs in a Python that torch has wheels for; for others it is told which to fetch', () => {
  const chosen = (...versions: string[]) =>
    pip.choosePython(versions.map((version) => python(version)))?.version;
  assert.equal(chosen('3.9.18', '3.12.1'), '3.12.1');
  assert.equal(chosen('3.9.18'), '3.9.18');
  assert.equal(chosen('2.7.18'), undefined);
  const fetches = (pythonVersion: string): boolean =>
    pip
      .pipArguments(['torch'], '/t', { withDependencies: false, pythonVersion })
      .includes('--python-version');
  assert.deepEqual(
    [fetches('3.11.7'), fetches('3.14.0'), fetches('3.9.18'), fetches('3.15.0')],
    [false, false, true, true],
  );
});

test('without Python or pip the error names the command', () => {
  assert.throws(
    () => pip.requirePython([]),
    (error: Error & { format(): string }) => {
      assert.match(error.format(), /no Python 3[\s\S]*python3: not found[\s\S]*install .*python/);
      return true;
    },
  );
  assert.throws(
    () => pip.requirePython([python('3.11.2', false)]),
    (error: Error & { format(): string }) => {
      assert.match(error.format(), /python3\.11\.2 3\.11\.2: has no pip[\s\S]*install .*p/);
      return true;
    },
  );
});

test("the libraries of a CUDA build come from the wheel's own list, without what only Python uses", () => {
  const expected = ['cuda-toolkit[cublas,cudart]==13.0.3', 'nvidia-nccl-cu13==2.30.7'];
  assert.deepEqual(pip.cudaLibraries(METADATA), expected);
  assert.deepEqual(pip.cudaHeaders('12.6'), []);
  assert.deepEqual(pip.cudaHeaders(null), []);
});

test("pip's reason is its last error", () => {
  assert.equal(pip.pipReason('WARNING: x\nERROR: first\nERROR: No space left\nmore\n'), 'No space left');
  assert.equal(pip.pipReason('Killed\n'), 'Killed');
});
