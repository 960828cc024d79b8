// Which process this is, as launchers say it: torchrun's variables, or SLURM's.

/** A process among those that work together. */
export interface Placement {
  /** Number of this process, from 0. */
  rank: number;
  worldSize: number;
  /** Number of this process on its machine, from 0: which GPU it takes. Undefined where nobody says so. */
  localRank: number | undefined;
  localWorldSize: number;
}

/** Where processes meet. */
export interface Meeting {
  host: string;
  port: number;
}

type Environment = Readonly<Record<string, string | undefined>>;

function integer(env: Environment, name: string, least = 0): number | undefined {
  const text = env[name];
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new Error(
      `the environment variable ${name} is '${text}': a whole number of at least ${least} is expected`,
    );
  }
  return value;
}

/**
 * The placement that the environment states, or undefined where it states none: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`,
 * `LOCAL_WORLD_SIZE` (torchrun's), else those of a SLURM step of several tasks (`SLURM_PROCID`, `SLURM_NTASKS`,
 * `SLURM_LOCALID`).
 */
export function placementOf(env: Environment = process.env): Placement | undefined {
  const rank = integer(env, 'RANK');
  const worldSize = integer(env, 'WORLD_SIZE', 1);
  if (rank !== undefined && worldSize !== undefined) {
    const localRank = integer(env, 'LOCAL_RANK') ?? (worldSize === 1 ? 0 : undefined);
    return checked({
      rank,
      worldSize,
      localRank,
      localWorldSize: integer(env, 'LOCAL_WORLD_SIZE', 1) ?? (localRank ?? 0) + 1,
    });
  }
  // A batch script itself has SLURM_PROCID too, but no step: it is no rank.
  const tasks = integer(env, 'SLURM_STEP_NUM_TASKS', 1) ?? integer(env, 'SLURM_NTASKS', 1);
  const task = integer(env, 'SLURM_PROCID');
  if (task === undefined || tasks === undefined || tasks < 2 || env.SLURM_STEP_ID === undefined)
    return undefined;
  return checked({
    rank: task,
    worldSize: tasks,
    localRank: integer(env, 'SLURM_LOCALID'),
    localWorldSize: Number.parseInt(env.SLURM_TASKS_PER_NODE ?? '', 10) || tasks,
  });
}

function checked(placement: Placement): Placement {
  const { rank, worldSize } = placement;
  if (rank >= worldSize) throw new Error(`rank ${rank} of ${worldSize} processes: ranks count from 0`);
  return placement;
}

/** The first host of SLURM's compact list: `node[03-05,9],other` begins with `node03`. */
export function firstHost(list: string): string {
  const [, name = '', ranges] = /^([^,[]+)(?:\[([^\]]+)\])?/.exec(list.trim()) ?? [];
  return ranges === undefined ? name : name + /^\d+/.exec(ranges)?.[0];
}

/** `MASTER_ADDR` and `MASTER_PORT`, else what SLURM's variables make of them. */
export function meetingOf(env: Environment = process.env): Meeting {
  const port = integer(env, 'MASTER_PORT', 1);
  if (env.MASTER_ADDR && port !== undefined) return { host: env.MASTER_ADDR, port };
  const nodes = env.SLURM_STEP_NODELIST ?? env.SLURM_NODELIST ?? env.SLURM_JOB_NODELIST;
  const job = integer(env, 'SLURM_JOB_ID');
  // The same for all tasks of a job, and another one for most other jobs.
  if (nodes && job !== undefined) {
    return { host: env.MASTER_ADDR || firstHost(nodes), port: port ?? 20000 + (job % 10000) };
  }
  throw new Error(
    'several processes are to work together, but the environment does not say where they meet: set MASTER_ADDR (the ' +
      'machine of rank 0) and MASTER_PORT (a free port on it)',
  );
}
