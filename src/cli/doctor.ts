import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';

/** One line of the report. `fix` is the command that mends a failure, or what would make a working thing better. */
export interface Check {
  name: string;
  ok: boolean;
  text: string;
  fix?: string;
}

const packageRoot = join(dirname(fileURLToPath(import.meta.url)), '../../..');

// In somebody's node_modules the command has to say which package it means.
const SETUP = packageRoot.split(sep).includes('node_modules')
  ? `npm --prefix ${relative(process.cwd(), packageRoot) || '.'} run setup`
  : 'npm run setup';

const errorText = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function node(): Check {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const ok = major > 20 || (major === 20 && minor >= 17);
  const memory = `${(totalmem() / 2 ** 30).toFixed(0)} GiB of memory`;
  const text = `${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores, ${memory}`;
  return ok ? { name: 'Node', ok, text } : { name: 'Node', ok, text, fix: 'install Node.js 20.17 or newer' };
}

interface BuildRecord {
  root: string;
  version: string;
  variant: string;
  cuda: string | null;
  source?: string;
}

function buildRecord(): BuildRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(packageRoot, 'build/libtorch.json'), 'utf8')) as BuildRecord;
  } catch {
    return undefined;
  }
}

function libtorch(record: BuildRecord | undefined): Check {
  const name = 'libtorch';
  if (!record) return { name, ok: false, text: 'none chosen yet', fix: SETUP };
  const { root, version, variant, cuda, source } = record;
  const kind = variant === 'cuda' ? `CUDA ${cuda ?? ''}`.trim() : 'CPU';
  if (!existsSync(join(root, 'lib'))) {
    return { name, ok: false, text: `${version} was at ${root}, which is gone`, fix: SETUP };
  }
  const how = { LIBTORCH: 'named by LIBTORCH', python: "Python's torch", cache: 'in the cache' }[
    source ?? ''
  ];
  return { name, ok: true, text: `${version} (${kind}) at ${root}${how ? `, ${how}` : ''}` };
}

/** The GPUs that NVIDIA's driver sees, one text each with its driver; empty without one. */
function nvidiaGpus(): string[] {
  const query = ['--query-gpu=name,driver_version', '--format=csv,noheader'];
  const { status, stdout } = spawnSync('nvidia-smi', query, { encoding: 'utf8', timeout: 20_000 });
  if (status !== 0) return [];
  return stdout
    .split('\n')
    .map((line) => line.trim().split(/,\s*/))
    .filter(([gpu]) => gpu)
    .map(([gpu, driver]) => `${gpu} (driver ${driver})`);
}

function devices(info: { cudaBuilt: boolean; cudaDevices: number; cpuCapability: string }): Check {
  const name = 'devices';
  const gpus = nvidiaGpus();
  const cpu = `CPU (${info.cpuCapability})`;
  if (info.cudaDevices > 0) {
    const found = gpus.length > 0 ? gpus.join(', ') : `${info.cudaDevices} GPUs`;
    return { name, ok: true, text: `${cpu}; CUDA: ${found}` };
  }
  if (info.cudaBuilt) {
    const why =
      gpus.length > 0 ? `none usable, though the driver sees ${gpus.join(', ')}` : 'no GPU on this machine';
    return { name, ok: true, text: `${cpu}; CUDA: ${why}` };
  }
  if (gpus.length === 0) return { name, ok: true, text: cpu };
  return { name, ok: true, text: `${cpu}; not used: ${gpus.join(', ')}`, fix: `${SETUP} -- --cuda` };
}

async function image(jpeg: boolean): Promise<Check[]> {
  const checks: Check[] = [
    jpeg
      ? { name: 'JPEG', ok: true, text: 'libjpeg-turbo, in native threads' }
      : {
          name: 'JPEG',
          ok: true,
          text: 'sharp (libjpeg-turbo would be several times faster)',
          fix: 'install libjpeg-turbo with its headers, then npm run build:native',
        },
  ];
  try {
    const { default: sharp } = await import('sharp');
    checks.push({
      name: 'images',
      ok: true,
      text: `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`,
    });
  } catch (error) {
    checks.push({
      name: 'images',
      ok: false,
      text: `sharp does not load: ${errorText(error)}`,
      fix: 'npm ci',
    });
  }
  return checks;
}

/** One multiplication forward and backward, whose result is known. */
async function arithmetic(): Promise<Check> {
  const name = 'operators';
  try {
    const torch = await import('../torch/index.js');
    const x = torch.tensor([3], { requiresGrad: true });
    x.mul(x).sum().backward();
    const slope = x.grad?.item();
    if (slope !== 6)
      return { name, ok: false, text: `the derivative of x² at 3 came out as ${String(slope)}` };
    return { name, ok: true, text: 'an operator and its derivative give the right numbers' };
  } catch (error) {
    return { name, ok: false, text: errorText(error), fix: SETUP };
  }
}

/** Two processes that add up numbers over Gloo, as those of a training do. */
async function processes(): Promise<Check> {
  const name = 'processes';
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-doctor-'));
  const program = fileURLToPath(new URL('./doctor-rank.js', import.meta.url));
  const start = performance.now();
  const one = (rank: number): Promise<string> =>
    new Promise((resolve) => {
      const args = [program, join(folder, 'meeting'), String(rank)];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: 40_000 });
      let errors = '';
      child.stderr.on('data', (data: Buffer) => {
        errors += data.toString();
      });
      child.on('error', (error) => resolve(error.message));
      child.on('close', (code, signal) =>
        resolve(code === 0 ? '' : errors.trim() || `one of them ended with ${signal ?? `status ${code}`}`),
      );
    });
  try {
    const failure = (await Promise.all([one(0), one(1)])).find((text) => text !== '');
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    if (failure === undefined)
      return { name, ok: true, text: `two of them add up numbers over Gloo (${seconds} s with their start)` };
    const fix = 'allow TCP connections of this machine to itself, or choose a network by GLOO_SOCKET_IFNAME';
    return { name, ok: false, text: `two of them cannot work together: ${failure}`, fix };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Looks at everything that training needs. Nothing here throws: what fails is a line of the report. */
export async function runChecks(): Promise<Check[]> {
  const record = buildRecord();
  const checks = [node(), libtorch(record)];
  let native: typeof import('../torch/native.js')['native'];
  try {
    ({ native } = await import('../torch/native.js'));
  } catch (error) {
    const [first, ...rest] = errorText(error).split('\n');
    const details = rest.filter((line) => !line.startsWith('Run '));
    checks.push({ name: 'addon', ok: false, text: [first, ...details].join('\n'), fix: SETUP });
    return checks;
  }
  const info = native.deviceInfo();
  checks.push({ name: 'addon', ok: true, text: `loads, with libtorch ${native.version()}` });
  checks.push(devices(info));
  checks.push({ name: 'threads', ok: true, text: `${native.getNumThreads()} (OMP_NUM_THREADS changes it)` });
  checks.push(...(await image(info.jpeg)));
  const operators = await arithmetic();
  checks.push(operators);
  if (operators.ok) checks.push(await processes());
  return checks;
}

/** The report as text: a line a check, failures marked, each with the command that mends it. */
export function formatChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(width + 6);
  const lines = checks.flatMap(({ name, ok, text, fix }) => [
    `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(width)}${text.replace(/^|\n/g, (start) => (start ? `\n${indent}  ` : '  '))}`,
    ...(fix ? [`${indent}  ${ok ? 'better' : 'mend it'} with: ${fix}`] : []),
  ]);
  const failed = checks.filter(({ ok }) => !ok).length;
  const verdict = failed === 0 ? 'Everything loads.' : `${failed} of ${checks.length} checks failed.`;
  return `${[...lines, '', verdict].join('\n')}\n`;
}

/** `reid-native doctor`: exit code 0 when everything training needs is there and loads, else 1. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('Says what this machine offers and whether everything loads.')
    .action(async () => {
      const checks = await runChecks();
      process.stdout.write(formatChecks(checks));
      if (checks.some(({ ok }) => !ok)) process.exitCode = 1;
    });
}
