// Runs tests on a simulated CUDA device (test/simulated_cuda): what a GPU would run, where there is none.
//
//   npm run test:simulated-cuda                    the tests that have something to do on a device
//   npm run test:simulated-cuda -- torch/on_device the files whose path contains one of these
//   npm run test:simulated-cuda -- --exec COMMAND  any other command
//
// The addon must have been built with a libtorch with CUDA.

import { spawn } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readRecord } from './lib/native.mjs';
import { run, tail } from './lib/run.mjs';
import { findCmake } from './lib/tools.mjs';

const TESTS = ['on_device', 'torch/cuda', 'torch/graphed_step', 'optim/capturable', 'distributed/'];

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const source = join(root, 'test/simulated_cuda');
const folder = join(root, 'build/simulated-cuda');

async function build() {
  const libtorch = readRecord(root);
  if (libtorch?.variant !== 'cuda') {
    throw new Error(
      'the addon was built without CUDA. Build it with a libtorch that has it (no device is needed):\n  npm run setup -- --cuda',
    );
  }
  findCmake();
  const steps = [
    ['-S', source, '-B', folder, `-DTORCH_ROOT=${libtorch.root}`],
    ['--build', folder, '--parallel'],
  ];
  for (const args of steps) {
    const { code, output } = await run('cmake', args, { cwd: root });
    if (code !== 0) throw new Error(`cmake ${args.join(' ')} failed\n${tail(output)}`);
  }
}

function start(args) {
  const [command, ...rest] =
    args[0] === '--exec'
      ? args.slice(1)
      : [process.execPath, join(root, 'scripts/test.mjs'), ...(args.length > 0 ? args : TESTS)];
  const preload = `--require ${JSON.stringify(join(source, 'preload.cjs'))}`;
  const env = {
    SIM_DEVICES: '2',
    ...process.env,
    SIM_LIBRARY: join(folder, 'libsimulated_cuda.so'),
    NODE_OPTIONS: [process.env.NODE_OPTIONS, preload].filter(Boolean).join(' '),
  };
  const child = spawn(command, rest, { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
  });
}

try {
  await build();
  start(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`error: ${error.message}\n`);
  process.exitCode = 1;
}
