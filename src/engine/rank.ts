import { writeFileSync } from 'node:fs';
import { logger } from '../logger.js';
import * as torch from '../torch/index.js';
import { RANK_ENV, type RankFailure } from './launch.js';

const { distributed: dist } = torch;

/** Runs `main` as one of several processes: joins them, and tells them, and a launcher of ours, when it fails. */
export async function runAsRank(
  main: () => Promise<void>,
  placement: torch.distributed.Placement,
): Promise<void> {
  const { env } = process;
  const errorFile = env[RANK_ENV.errorFile];
  if (errorFile !== undefined) {
    endWithLauncher();
    // Its output is a file of ours: a full disk is no reason to end.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  }
  const seconds = (name: string): number | undefined => (env[name] ? Number(env[name]) * 1000 : undefined);
  try {
    await dist.initProcessGroup({
      initMethod: env[RANK_ENV.initMethod] ?? 'env://',
      rank: placement.rank,
      worldSize: placement.worldSize,
      timeout: seconds(RANK_ENV.timeout),
      lostAfter: seconds(RANK_ENV.lostAfter),
    });
    await main();
    await dist.destroyProcessGroup();
  } catch (caught) {
    const error = explained(caught);
    const secondary = error instanceof dist.DistributedError;
    const { message } = error;
    logger.detail(`Rank ${placement.rank} failed: ${error.stack ?? message}`);
    if (errorFile !== undefined) {
      const failure: RankFailure = { rank: placement.rank, message, secondary, time: Date.now() };
      writeFailure(errorFile, failure);
    }
    await dist.destroyProcessGroup(secondary ? 'it has lost another rank' : message);
    if (errorFile === undefined) throw error;
    // The launcher says what happened. Threads that wait for other ranks must not keep this process.
    if (placement.rank !== 0) process.stderr.write(`error: ${error.stack ?? message}\n`);
    process.exit(1);
  }
}

/** Errors that come from a lost connection name no rank by themselves. */
function explained(caught: unknown): Error {
  const error = caught instanceof Error ? caught : new Error(String(caught));
  const lost = /Connection (closed|reset)|by peer|Broken pipe|pair closure|Timed out waiting|NCCL|TCPStore/i;
  if (error instanceof dist.DistributedError || !dist.isInitialized() || !lost.test(error.message))
    return error;
  return dist.distributedError('an exchange with the other ranks failed', error);
}

function writeFailure(path: string, failure: RankFailure): void {
  try {
    writeFileSync(path, JSON.stringify(failure), { flag: 'wx' });
  } catch {
    // One is there already, or the launcher is gone.
  }
}

/** No orphans: when the launcher is gone, however it ended, so is this process. */
function endWithLauncher(): void {
  dist.endWithParent();
  if (process.send === undefined) return;
  if (!process.connected) process.exit(1);
  process.on('disconnect', () => process.exit(1));
  process.channel?.unref();
}
