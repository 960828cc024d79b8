import type { ModuleTimes, Profile, ProfileRow } from '../torch/index.js';
import { alignColumns } from './format.js';

/** Parts of one training step, in ms. */
export interface StepTimes {
  /** Waiting for the batch, and dropping the last step's gradients. */
  data: number;
  forward: number;
  backward: number;
  /** The optimizer, and whatever the step does after it. */
  step: number;
}

export interface ProfileReportOptions {
  /** ms from the start of the process to the first step. */
  startUp?: number | undefined;
  /** Rows of each table. Default 15. */
  rows?: number | undefined;
}

const ms = (time: number): string => `${time.toFixed(time < 10 ? 2 : 1)} ms`;

function size(bytes: number): string {
  const magnitude = Math.abs(bytes);
  if (magnitude < 1024) return `${bytes} B`;
  const [unit, name] = magnitude < 2 ** 20 ? [1024, 'KiB'] : [2 ** 20, 'MiB'];
  return `${(bytes / unit).toFixed(1)} ${name}`;
}

function partsTable(times: StepTimes, startUp: number | undefined): string {
  const whole = times.data + times.forward + times.backward + times.step;
  const rows = Object.entries(times).map(([name, time]) => [
    name,
    ms(time),
    `${((100 * time) / whole).toFixed(1)} %`,
  ]);
  rows.push(['iteration', ms(whole), '']);
  if (startUp !== undefined) rows.push(['start-up', ms(startUp), '']);
  return alignColumns([['part', 'time', 'share'], ...rows]);
}

function modulesTable(modules: readonly ModuleTimes[], rows: number): string {
  const slowest = modules
    .filter(({ path }) => path !== '(model)')
    .sort((a, b) => b.selfForward - a.selfForward)
    .slice(0, rows)
    .map(({ path, calls, forward, selfForward, backward }) => [
      path,
      ...[selfForward, forward, backward].map((time) => ms(time / 1000)),
      String(calls),
    ]);
  return alignColumns([['module', 'self forward', 'forward', 'backward', 'calls'], ...slowest]);
}

function operatorsTable(operators: readonly ProfileRow[], rows: number): string {
  const all = operators.reduce((sum, { self }) => sum + self, 0);
  const slowest = operators
    .slice(0, rows)
    .map(({ name, self, total, calls, selfMemory }) => [
      name,
      ms(self / 1000),
      `${((100 * self) / all).toFixed(1)} %`,
      ms(total / 1000),
      String(calls),
      size(selfMemory),
    ]);
  return alignColumns([['operator', 'self', 'share', 'total', 'calls', 'self memory'], ...slowest]);
}

/**
 * A recording as text: parts of the step, the modules with most time of their own in forward, the operators with most
 * time of their own; on a GPU, its kernels.
 */
export function profileReport(
  profile: Profile,
  times: StepTimes | undefined,
  options: ProfileReportOptions = {},
): string {
  const { startUp, rows = 15 } = options;
  const modules = profile.modules();
  const kernels = profile.table(['kernel']);
  return [
    ...(times ? [partsTable(times, startUp)] : []),
    ...(modules.length > 0 ? [modulesTable(modules, rows)] : []),
    operatorsTable(profile.table(['operator', 'backward']), rows),
    ...(kernels.length > 0 ? [operatorsTable(kernels, rows).replace('operator', 'kernel  ')] : []),
  ].join('\n\n');
}
