import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { fakeLibtorch, importScript, temporaryFolder } from '../support/scripts.js';

type Variant = 'cpu' | 'cuda';

interface Libtorch {
  root: string;
  version: string;
  variant: Variant;
  cuda: string | null;
}

type Inspected = { ok: true; libtorch: Libtorch } | { ok: false; reason: string };

interface Python {
  command: string;
  version: string;
  torch: string | null;
  pip: boolean;
}

interface Machine {
  env: NodeJS.ProcessEnv;
  variant: Variant | undefined;
  gpu: boolean;
  pythons: () => Python[];
  inspect: (path: string) => Inspected;
  cached: () => Libtorch[];
  install: (variant: Variant) => Promise<Libtorch>;
}

interface LibtorchModule {
  inspect(path: string): Inspected;
  cacheFolder(env: NodeJS.ProcessEnv, home: string): string;
  cached(folder: string): Libtorch[];
  locate(machine: Machine): Promise<Libtorch & { source: string; trail: string[] }>;
}

interface SetupErrorClass {
  new (
    title: string,
    details?: { tried?: string[]; fix?: string[] },
  ): Error & { tried: string[]; format(): string };
}

const libtorch = await importScript<LibtorchModule>('lib/libtorch.mjs');
const { SetupError } = await importScript<{ SetupError: SetupErrorClass }>('lib/ui.mjs');

const at = (root: string, variant: Variant = 'cpu'): Libtorch => ({
  root,
  version: '2.13.0',
  variant,
  cuda: null,
});

function machine(changes: Partial<Machine> = {}): { machine: Machine; asked: string[] } {
  const asked: string[] = [];
  const known: Record<string, Inspected> = {
    '/mine': { ok: true, libtorch: at('/mine') },
    '/site/torch': { ok: true, libtorch: at('/site/torch') },
    '/old/torch': { ok: false, reason: 'version 2.9.0 is outside 2.11 to 2.14' },
  };
  const base: Machine = {
    env: {},
    variant: undefined,
    gpu: false,
    pythons: () => [{ command: 'python3', version: '3.11.7', torch: null, pip: true }],
    inspect: (path) => known[path] ?? { ok: false, reason: 'no such folder' },
    cached: () => [],
    install: async (variant) => {
      asked.push(variant);
      return at(`/cache/${variant}`, variant);
    },
  };
  return { machine: { ...base, ...changes }, asked };
}

const python = (torch: string): Python => ({ command: 'python3', version: '3.11.7', torch, pip: true });

test('LIBTORCH comes before Python, Python before the cache, the cache before pip', async () => {
  const all = {
    env: { LIBTORCH: '/mine' },
    pythons: () => [python('/site/torch')],
    cached: () => [at('/cache/old')],
  };
  const sources: [Partial<Machine>, string, string][] = [
    [all, 'LIBTORCH', '/mine'],
    [{ ...all, env: {} }, 'python', '/site/torch'],
    [{ cached: all.cached }, 'cache', '/cache/old'],
    [{}, 'cache', '/cache/cpu'],
  ];
  for (const [changes, source, root] of sources) {
    const found = await libtorch.locate(machine(changes).machine);
    assert.deepEqual([found.source, found.root], [source, root]);
  }
});

test('a LIBTORCH that cannot be used stops the set-up and names the way out', async () => {
  const wrong = machine({ env: { LIBTORCH: '/old/torch' }, cached: () => [at('/cache/old')] });
  await assert.rejects(libtorch.locate(wrong.machine), (error: InstanceType<SetupErrorClass>) => {
    assert.match(error.format(), /LIBTORCH=\/old\/torch: version 2\.9\.0 is outside/);
    assert.match(error.format(), /unset LIBTORCH && npm run setup/);
    return true;
  });
  const variant = machine({ env: { LIBTORCH: '/mine' }, variant: 'cuda' });
  await assert.rejects(libtorch.locate(variant.machine), (error: InstanceType<SetupErrorClass>) =>
    /it is a cpu build, --cuda was asked for/.test(error.format()),
  );
});

test("a Python's torch of another version or variant is passed over, and that is kept for the error", async () => {
  const old = await libtorch.locate(machine({ pythons: () => [python('/old/torch')] }).machine);
  assert.equal(old.root, '/cache/cpu');
  assert.ok(old.trail.some((line) => /python3 3\.11\.7: torch at \/old\/torch: version 2\.9\.0/.test(line)));

  const { machine: wantsCuda, asked } = machine({ pythons: () => [python('/site/torch')], variant: 'cuda' });
  assert.equal((await libtorch.locate(wantsCuda)).root, '/cache/cuda');
  assert.deepEqual(asked, ['cuda']);
});

test('the variant is what the machine has, unless a flag says otherwise', async () => {
  const cases: [Partial<Machine>, Variant][] = [
    [{}, 'cpu'],
    [{ gpu: true }, 'cuda'],
    [{ gpu: true, variant: 'cpu' }, 'cpu'],
    [{ variant: 'cuda' }, 'cuda'],
    [{ gpu: true, cached: () => [at('/cache/cpu-one')] }, 'cuda'],
  ];
  for (const [changes, variant] of cases) {
    const { machine: one, asked } = machine(changes);
    await libtorch.locate(one);
    assert.deepEqual(asked, [variant]);
  }
});

test('without a download, a CPU build in the cache serves a machine with a GPU, but not a wish for CUDA', async () => {
  const install = async (): Promise<Libtorch> => {
    throw new SetupError('no download', { tried: ['pip: no network'], fix: ['again'] });
  };
  const changes = { gpu: true, cached: () => [at('/cache/cpu-one')], install };
  assert.equal((await libtorch.locate(machine(changes).machine)).root, '/cache/cpu-one');
  await assert.rejects(libtorch.locate(machine({ ...changes, variant: 'cuda' }).machine), (error) => {
    assert.ok(error instanceof SetupError);
    const expected = [
      'LIBTORCH: not set',
      'python3 3.11.7: has no torch',
      'cache: no cuda build',
      'pip: no network',
    ];
    assert.deepEqual(error.tried, expected);
    return true;
  });
});

test('a libtorch is recognised at its root, in a site folder, and with its variant', (t) => {
  const folder = temporaryFolder(t, {
    ...fakeLibtorch('cpu/torch', { local: 'cpu' }),
    ...fakeLibtorch('cuda', { version: '2.14.1', local: 'cu130', cuda: '13.0' }),
    ...fakeLibtorch('old', { version: '2.10.0' }),
    ...fakeLibtorch('partial', { without: ['lib/libc10'] }),
    ...fakeLibtorch('unnamed', { without: ['version'] }),
    'nothing/readme': '',
  });
  const read = (name: string): Inspected => libtorch.inspect(join(folder, name));
  const cpu = { root: join(folder, 'cpu/torch'), version: '2.13.0+cpu', variant: 'cpu', cuda: null };
  assert.deepEqual(read('cpu'), { ok: true, libtorch: cpu });
  assert.deepEqual(read('cpu/torch'), { ok: true, libtorch: cpu });
  const cuda = { root: join(folder, 'cuda'), version: '2.14.1+cu130', variant: 'cuda', cuda: '13.0' };
  assert.deepEqual(read('cuda'), { ok: true, libtorch: cuda });
  const reasons: [string, RegExp][] = [
    ['old', /version 2\.10\.0 is outside 2\.11 to 2\.14/],
    ['partial', /lib[\\/]libc10\.\w+ is missing/],
    ['unnamed', /do not say a version/],
    ['nothing', /not a libtorch/],
    ['absent', /no such folder/],
  ];
  for (const [name, reason] of reasons) {
    const found = read(name);
    assert.ok(!found.ok, name);
    assert.match(found.reason, reason);
  }
});

test('the cache gives the pinned version first and ignores unfinished downloads', (t) => {
  const folder = temporaryFolder(t, {
    ...fakeLibtorch('2.12.0-cpu/torch', { version: '2.12.0' }),
    ...fakeLibtorch('2.13.0-cpu/torch'),
    ...fakeLibtorch('2.14.1-cpu/torch', { version: '2.14.1' }),
    ...fakeLibtorch('2.13.0-cpu.tmp-1/torch'),
  });
  const versions = libtorch.cached(folder).map(({ version }) => version);
  assert.deepEqual(versions, ['2.13.0', '2.14.1', '2.12.0']);
  assert.deepEqual(libtorch.cached(join(folder, 'absent')), []);
});

test('the cache lies where REID_NATIVE_CACHE, then the XDG folder, say', () => {
  const home = '/home/me';
  assert.equal(libtorch.cacheFolder({}, home), '/home/me/.cache/reid-native/libtorch');
  assert.equal(libtorch.cacheFolder({ XDG_CACHE_HOME: '/big' }, home), '/big/reid-native/libtorch');
  assert.equal(
    libtorch.cacheFolder({ XDG_CACHE_HOME: 'relative' }, home),
    '/home/me/.cache/reid-native/libtorch',
  );
  assert.equal(
    libtorch.cacheFolder({ REID_NATIVE_CACHE: '/c', XDG_CACHE_HOME: '/big' }, home),
    '/c/libtorch',
  );
});
