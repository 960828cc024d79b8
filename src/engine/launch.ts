import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { logger } from '../logger.js';
import { type Placement, placementOf } from '../torch/distributed/environment.js';
import { onSignals, SIGNALS, signalExitCode } from './signals.js';

export interface LaunchOptions {
  /** Processes on this machine, each with a GPU of its own or, on the CPU, a share of the cores. Default 1. */
  numGpus?: number;
  /** Default 1. */
  numMachines?: number;
  /** Number of this machine, from 0. Default 0. */
  machineRank?: number;
  /**
   * Where the processes meet: `auto` (a free port of this machine; one machine only), `tcp://HOST:PORT` of machine 0,
   * or `file:///PATH` of a new file that all machines see. Default `auto`.
   */
  distUrl?: string;
  /** Longest time a collective may take, in seconds. Default 1800. */
  timeout?: number;
  /** A rank that is silent for so long, in seconds, is given up. Default 60. */
  lostAfter?: number;
  /** How often all ranks are started again, to go on from the last checkpoint, after one has failed. Default 0. */
  maxRestarts?: number;
  /** Folder for `log.txt.rank1` and so on: what ranks other than 0 print. Default: the current one. */
  logDir?: string;
}

/** Variables by which the launcher speaks to the ranks it starts. */
export const RANK_ENV = {
  /** Set in ranks that a launcher of ours started: the file to write the cause of an end to. */
  errorFile: 'REID_NATIVE_ERROR_FILE',
  initMethod: 'REID_NATIVE_INIT_METHOD',
  timeout: 'REID_NATIVE_DIST_TIMEOUT',
  lostAfter: 'REID_NATIVE_LOST_AFTER',
  /** torchrun's: how often the ranks have been started again. */
  restarts: 'TORCHELASTIC_RESTART_COUNT',
} as const;

/** How a rank tells its launcher why it ended. */
export interface RankFailure {
  rank: number;
  message: string;
  /** It only suffered from another rank's end. */
  secondary: boolean;
  time: number;
}

/** A rank has failed; the message is that of the first to do so. */
export class LaunchError extends Error {
  override readonly name = 'LaunchError';
}

/** How long ranks have to end by themselves after one has failed, in ms. */
const GRACE = 6000;
/** Before ranks are started anew, so that those of other machines have ended too. */
const RESTART_PAUSE = 2000;

/** Whether this process is a rank: the environment says so (torchrun's variables, SLURM's, or our launcher's). */
export function isRank(env: NodeJS.ProcessEnv = process.env): boolean {
  const placement = placementOf(env);
  return placement !== undefined && (placement.worldSize > 1 || env[RANK_ENV.errorFile] !== undefined);
}

/** Whether the ranks have been started again after a failure, so that they should resume. */
export function isRestart(env: NodeJS.ProcessEnv = process.env): boolean {
  return Number(env[RANK_ENV.restarts] ?? 0) > 0;
}

/**
 * Runs `main` in `numGpus × numMachines` processes, each joined to the others (`torch.distributed`) when it begins.
 * To start the processes of this machine, the program that is running is run again for each, with the same
 * arguments; there this function does not return before `main` has ended. With one process, and in a process that
 * torchrun or SLURM have started, it just runs `main`.
 *
 * When a rank fails, all end within seconds, and the first failure is what is thrown. After Ctrl-C or SIGTERM, which
 * are passed on to the ranks, nothing is thrown or started again: the exit status is that of the signal.
 */
export async function launch(main: () => Promise<void>, options: LaunchOptions = {}): Promise<void> {
  if (isRank()) {
    const { runAsRank } = await import('./rank.js');
    return runAsRank(main, placementOf() as Placement);
  }
  const { numGpus = 1, numMachines = 1, machineRank = 0, maxRestarts = 0 } = options;
  for (const [name, value] of Object.entries({ numGpus, numMachines })) {
    if (!Number.isInteger(value) || value < 1)
      throw new RangeError(`${name} is ${value}; it must be at least 1`);
  }
  if (machineRank < 0 || machineRank >= numMachines) {
    throw new RangeError(`machine ${machineRank} of ${numMachines}: machines are numbered from 0`);
  }
  if (numGpus * numMachines === 1 && maxRestarts === 0) return main();
  for (let attempt = 0; ; attempt++) {
    const result = await runRanks({ ...options, numGpus, numMachines, machineRank }, attempt);
    if (result.failure === undefined) {
      if (result.exitCode !== 0) process.exitCode = result.exitCode;
      return;
    }
    if (attempt >= maxRestarts) throw new LaunchError(result.failure);
    logger.warn(`${result.failure}\nStarting all ranks again, restart ${attempt + 1} of ${maxRestarts}`);
    await sleep(RESTART_PAUSE);
  }
}

type Settings = LaunchOptions & { numGpus: number; numMachines: number; machineRank: number };

interface RunResult {
  failure?: string;
  exitCode: number;
}

async function runRanks(settings: Settings, attempt: number): Promise<RunResult> {
  const { numGpus, numMachines, machineRank, logDir = '.' } = settings;
  const shared = await environment(settings, attempt);
  const folder = mkdtempSync(join(tmpdir(), 'reid-native-launch-'));
  mkdirSync(logDir, { recursive: true });
  const ranks = Array.from({ length: numGpus }, (_, local) => {
    const rank = machineRank * numGpus + local;
    const log = rank === 0 ? undefined : join(logDir, `log.txt.rank${rank}`);
    const placed = {
      RANK: rank,
      WORLD_SIZE: numGpus * numMachines,
      LOCAL_RANK: local,
      LOCAL_WORLD_SIZE: numGpus,
    };
    const env = Object.fromEntries(Object.entries(placed).map(([name, value]) => [name, String(value)]));
    return new RankProcess(rank, { ...shared, ...env }, join(folder, `rank${rank}.json`), log);
  });
  let signalled: NodeJS.Signals | undefined;
  const forward = (signal: NodeJS.Signals): void => {
    signalled = signal;
    for (const rank of ranks) rank.child.kill(signal);
  };
  const stop = (): void => {
    for (const rank of ranks) rank.stop();
  };
  // A rank that hangs takes no notice of signals: the second one ends all at once.
  const restoreSignals = onSignals(forward, stop);
  const all = Promise.all(ranks.map(({ done }) => done));
  const failed = Promise.race(
    ranks.map(({ done }) =>
      done.then((code) => (wellEnded(code) ? new Promise<never>(() => {}) : undefined)),
    ),
  );
  try {
    await Promise.race([all, failed]);
    await Promise.race([all, sleep(GRACE, undefined, { ref: false })]);
    stop();
    return verdict(ranks, await all, signalled);
  } finally {
    restoreSignals();
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Exit codes of a rank that was asked to stop and did: by a signal, or (128) because another rank was. One that a
 * signal has killed has no exit code.
 */
const STOPPED = [128, ...SIGNALS.map(signalExitCode)];

function wellEnded(code: number | null): boolean {
  return code === 0 || (code !== null && STOPPED.includes(code));
}

/** A rank as the launcher sees it. */
class RankProcess {
  readonly rank: number;
  readonly child: ChildProcess;
  readonly log: string | undefined;
  /** Its exit status when it has ended, null when a signal or the start did it. */
  readonly done: Promise<number | null>;
  readonly #errorFile: string;
  #ended: { message: string; time: number } | undefined;
  #stopped = false;

  constructor(rank: number, env: Record<string, string>, errorFile: string, log: string | undefined) {
    this.rank = rank;
    this.log = log;
    this.#errorFile = errorFile;
    const output = log === undefined ? ('inherit' as const) : openSync(log, 'a');
    // In a session of their own: Ctrl-C reaches the launcher alone, which passes it on once.
    this.child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...process.env, ...env, [RANK_ENV.errorFile]: errorFile },
      stdio: ['ignore', output, output, 'ipc'],
      detached: true,
    });
    if (typeof output === 'number') closeSync(output);
    this.done = new Promise((done) => {
      const end = (message: string, code: number | null): void => {
        this.#ended ??= { message, time: Date.now() };
        done(code);
      };
      this.child.on('error', (error) => end(`could not be started: ${error.message}`, null));
      this.child.on('exit', (code, signal) =>
        end(signal ? `was ended by ${signal}${ENDED_BY[signal] ?? ''}` : `ended with status ${code}`, code),
      );
    });
  }

  /** Ends it at once, if it still runs. */
  stop(): void {
    if (this.#ended) return;
    this.#stopped = true;
    this.child.kill('SIGKILL');
  }

  /** Why it ended, in its own words where it had the time. */
  failure(): RankFailure {
    const { message = '', time = 0 } = this.#ended ?? {};
    if (existsSync(this.#errorFile)) {
      try {
        return JSON.parse(readFileSync(this.#errorFile, 'utf8')) as RankFailure;
      } catch {
        // It died while writing.
      }
    }
    return this.#stopped
      ? { rank: this.rank, message: 'did not end', secondary: true, time }
      : { rank: this.rank, message, secondary: false, time };
  }
}

const ENDED_BY: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: ' (by somebody, or by the system for want of memory)',
  SIGABRT: ' (native code gave up, as NCCL does after an error or a time-out: its output says why)',
};

/** @param signal what the launcher was told to end by: then nothing the ranks did is a reason to start them again */
function verdict(
  ranks: readonly RankProcess[],
  codes: readonly (number | null)[],
  signal: NodeJS.Signals | undefined,
): RunResult {
  const obeyed = ({ child }: RankProcess): boolean => signal !== undefined && child.signalCode === signal;
  const failures = ranks
    .filter((rank, i) => !wellEnded(codes[i]!) && !obeyed(rank))
    .map((rank) => rank.failure());
  // Whoever only suffered from another's end is no cause, even if it was quicker to say so.
  const [first] = failures.sort((a, b) => Number(a.secondary) - Number(b.secondary) || a.time - b.time);
  const highest = Math.max(...codes.map((code) => code ?? 1));
  const exitCode = signal === undefined || highest === 0 ? highest : signalExitCode(signal);
  if (first === undefined) return { exitCode };
  const log = ranks.find(({ rank }) => rank === first.rank)?.log;
  const output = log ? ` (its output: ${resolve(log)})` : '';
  const failure = `rank ${first.rank} failed: ${first.message}${output}`;
  if (signal === undefined) return { exitCode, failure };
  if (!first.secondary) logger.warn(failure);
  return { exitCode };
}

/** What all ranks of this machine are told alike. */
async function environment(settings: Settings, attempt: number): Promise<Record<string, string>> {
  const { numGpus, numMachines, distUrl = 'auto', timeout = 1800, lostAfter = 60 } = settings;
  const shared: Record<string, string> = {
    [RANK_ENV.restarts]: String(attempt),
    [RANK_ENV.timeout]: String(timeout),
    [RANK_ENV.lostAfter]: String(lostAfter),
  };
  // Ranks that each start as many threads as there are cores would only be in each other's way.
  if (process.env.OMP_NUM_THREADS === undefined) {
    shared.OMP_NUM_THREADS = String(Math.max(1, Math.floor(availableParallelism() / numGpus)));
  }
  const tcp = /^tcp:\/\/(.+):(\d+)\/?$/.exec(distUrl);
  if (tcp) return { ...shared, MASTER_ADDR: tcp[1]!.replace(/^\[|\]$/g, ''), MASTER_PORT: tcp[2]! };
  if (distUrl.startsWith('file://')) {
    const file = attempt === 0 ? distUrl : `${distUrl}.${attempt}`;
    // Of several machines, another one may have made it a moment ago.
    if (settings.numMachines === 1 && existsSync(new URL(file))) {
      throw new Error(`--dist-url ${file}: the file exists, but each run needs a new one`);
    }
    return { ...shared, [RANK_ENV.initMethod]: file };
  }
  if (distUrl !== 'auto') {
    throw new Error(`--dist-url is '${distUrl}'; it must be auto, tcp://HOST:PORT or file:///PATH`);
  }
  if (numMachines > 1) {
    throw new Error(
      '--dist-url auto is for one machine: give all machines tcp://HOST:PORT with the host of machine 0',
    );
  }
  return { ...shared, MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(await freePort()) };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready, fail) => server.once('error', fail).listen(0, '127.0.0.1', ready));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}
