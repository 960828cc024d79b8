import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';

/** A TCP port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export interface RankResult<T> {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
  /** What the rank sent by `report`. */
  value: T | undefined;
}

export interface RunOptions {
  args?: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** What each rank's environment says of its place. Default: `RANK`, `LOCAL_RANK`. */
  place?: (rank: number) => Readonly<Record<string, string>>;
  /** Called when a rank has ended, with all of them. */
  onExit?: (rank: number, children: readonly ChildProcess[]) => void;
}

const torchrun = (rank: number): Record<string, string> => ({ RANK: String(rank), LOCAL_RANK: String(rank) });

/** Runs `dist/test/<script>` as that many ranks, which meet at a free port; waits for all to end. */
export async function runRanks<T>(
  script: string,
  ranks: number,
  { args = [], env = {}, place = torchrun, onExit }: RunOptions = {},
): Promise<RankResult<T>[]> {
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url));
  const common = {
    ...process.env,
    OMP_NUM_THREADS: '1',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(await freePort()),
    WORLD_SIZE: String(ranks),
    ...env,
  };
  const children: ChildProcess[] = [];
  const one = (rank: number): Promise<RankResult<T>> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [path, ...args], {
        env: { ...common, ...place(rank) },
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      const result: RankResult<T> = { code: null, signal: null, stderr: '', value: undefined };
      child.stderr?.on('data', (data: Buffer) => {
        result.stderr += data.toString();
      });
      children[rank] = child;
      child.on('exit', () => onExit?.(rank, children));
      child.on('message', (value) => {
        result.value = value as T;
      });
      child.on('error', reject);
      child.on('close', (code, signal) => resolve({ ...result, code, signal }));
    });
  return Promise.all(Array.from({ length: ranks }, (_, rank) => one(rank)));
}

/** In a rank: hands a value to the test. */
export function report(value: unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(value, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });
}

/** Runs a Python program as that many ranks. */
export async function runPythonRanks(
  program: string,
  ranks: number,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const python = pythonTorch();
  if (!python) throw new Error(pythonTorchMissing);
  const common = {
    ...python.env,
    OMP_NUM_THREADS: '1',
    MASTER_ADDR: '127.0.0.1',
    MASTER_PORT: String(await freePort()),
    WORLD_SIZE: String(ranks),
    ...env,
  };
  const one = (rank: number): Promise<void> =>
    new Promise((resolve, reject) => {
      const child = spawn(python.command, ['-W', 'ignore', program], {
        env: { ...common, RANK: String(rank), LOCAL_RANK: String(rank) },
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let errors = '';
      child.stderr.on('data', (data: Buffer) => {
        errors += data.toString();
      });
      child.on('error', reject);
      child.on('close', (code) =>
        code === 0 ? resolve() : reject(new Error(`Python rank ${rank}:\n${errors}`)),
      );
    });
  await Promise.all(Array.from({ length: ranks }, (_, rank) => one(rank)));
}
