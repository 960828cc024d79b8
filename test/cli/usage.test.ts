import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');

test('help lists the commands, whichever way it is asked for', async () => {
  for (const args of [['--help'], [], ['help']]) {
    const { code, stdout, stderr } = await reidNative(args);
    assert.equal(code, 0);
    assert.equal(stderr, '');
    for (const command of [
      'train',
      'embed',
      'evaluate',
      'search',
      'visualize',
      'config',
      'model',
      'prepare',
      'doctor',
    ])
      assert.match(stdout, new RegExp(command));
  }
});

test('help does not load libtorch', () => {
  const main = pathToFileURL(join(repoRoot, 'dist/src/cli/main.js')).href;
  const script = `
    import Module from 'node:module';
    const { main } = await import('${main}');
    await main(['--help']);
    process.stderr.write(Object.keys(Module._cache).join());`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  assert.match(stdout, /Usage: reid-native/);
  assert.match(stderr, /commander/);
  assert.doesNotMatch(stderr, /reid_native\.node/);
});

test('doctor lets two processes work together', async () => {
  const { code, stdout } = await reidNative(['doctor']);
  assert.equal(code, 0, stdout);
  assert.match(
    stdout,
    /^ok +processes +two of them add up numbers over Gloo \([\d.]+ s with their start\)$/m,
  );
  // A network that is not there.
  const failed = await reidNative(['doctor'], { GLOO_SOCKET_IFNAME: 'none0' });
  assert.equal(failed.code, 1);
  assert.match(failed.stdout, /^FAIL +processes .*on the network none0 \(GLOO_SOCKET_IFNAME\)/m);
});

test('each command has its help', async () => {
  for (const command of [
    'train',
    'embed',
    'evaluate',
    'search',
    'visualize',
    'config',
    'model',
    'prepare',
    'doctor',
  ]) {
    const { code, stdout } = await reidNative([command, '--help']);
    assert.equal(code, 0, command);
    assert.match(stdout, new RegExp(`Usage: reid-native ${command}`));
  }
});

// Exit code 2: the command line is wrong, and the message says what would be right.
const wrong: [args: string[], message: RegExp][] = [
  [['trian'], /unknown command 'trian'\s+\(Did you mean train\?\)/],
  [['train'], /required option '--config-file <file>' not specified/],
  [['train', '--config-file', demo, '--resum'], /unknown option '--resum'\s+\(Did you mean --resume\?\)/],
  [
    ['train', '--config-file', demo, 'SOLVER.BASE_LRR', '1'],
    /SOLVER.BASE_LRR.*did you mean SOLVER.BASE_LR\?/,
  ],
  [['train', '--config-file', demo, 'SOLVER.BASE_LR'], /SOLVER.BASE_LR has no value/],
  [['train', '--config-file', demo, 'SOLVER.MAX_EPOCH', 'many'], /SOLVER.MAX_EPOCH/],
  [
    ['train', '--config-file', demo, 'OUTPUT_DIR', 'x', '--resume'],
    /--resume: options come before the KEY VALUE pairs/,
  ],
  [['train', '--config-file', demo, '--num-gpus', '0'], /--num-gpus.*expected a whole number, 1 or more/],
  [['train', '--config-file', demo, '--seed', ''], /--seed.*expected a whole number, 0 or more/],
  [['prepare', 'emoji', '--limit', '0'], /--limit.*expected a whole number, 1 or more/],
  [['train', '--config-file', demo, '--machine-rank', '1'], /--machine-rank 1 of 1 machines/],
  [['train', '--config-file', demo, '--lost-after', '4'], /--lost-after 4 is too short: at least 5 seconds/],
  [['train', '--config-file', demo, '--seed', '-1'], /expected a whole number/],
  [['train', '--config-file', demo, '--eval-only'], /--eval-only needs weights/],
  [
    ['embed', '--config-file', demo, '--out', 'x.safetensors', '--weights', 'w.pth'],
    /name images, or give --list FILE/,
  ],
  [['visualize', '--out', 'seen'], /give --features FILE, or --config-file FILE/],
  [['search', 'a.jpg', '--index', 'x.safetensors'], /search needs a model: give --config-file/],
  [['embed', 'a.jpg', '--out', 'x.safetensors'], /embed needs a model: give --config-file/],
  [['embed', 'a.jpg', '--config-file', demo, '--out', 'x.npz'], /must end in .safetensors/],
  [['embed', 'a.jpg', '--config-file', demo, '--out', 'x.safetensors'], /embed needs weights/],
];

for (const [args, message] of wrong) {
  test(`reid-native ${args.join(' ').replace(demo, 'F.yml')}: exit code 2`, async () => {
    const { code, stderr } = await reidNative(args);
    assert.match(stderr, message);
    assert.equal(code, 2);
    assert.doesNotMatch(stderr, /\n\s+at /, 'no stack');
  });
}

test('an error while running: exit code 1, one line, a stack on demand', async () => {
  const args = ['train', '--config-file', 'no-such-file.yml'];
  const short = await reidNative(args);
  assert.equal(short.code, 1);
  assert.match(short.stderr, /^error: .*no-such-file.yml.*\n$/);
  for (const [more, env] of [
    [['--verbose'], {}],
    [[], { DEBUG: '1' }],
  ] as const) {
    const long = await reidNative([...args, ...more], env);
    assert.equal(long.code, 1);
    assert.match(long.stderr, /\n\s+at /);
  }
});
