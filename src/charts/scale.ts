import { scaleLinear, scaleLog } from 'd3-scale';

export interface Axis {
  label?: string;
  /** Logarithmic; values that are not positive are then not drawn. */
  log?: boolean;
  /** First and last value. Default: what the data covers, rounded outwards. */
  domain?: readonly [number, number];
}

export interface Tick {
  value: number;
  /** Empty for a tick without a label. */
  label: string;
}

/** From values to pixels. */
export interface Scale {
  (value: number): number;
  ticks(): Tick[];
  /** Whether a value has a place on the axis at all. */
  shows(value: number): boolean;
}

/** Smallest and largest of the values that can be shown; undefined when there are none. */
export function extent(lists: Iterable<ArrayLike<number>>, log = false): [number, number] | undefined {
  let [low, high] = [Infinity, -Infinity];
  for (const values of lists) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i];
      if (!Number.isFinite(value) || (log && value <= 0)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : undefined;
}

/** A domain that has a length, whatever the data. */
function spread([low, high]: readonly [number, number], log: boolean): [number, number] {
  if (low !== high) return [low, high];
  if (log) return [low / 2, low * 2];
  if (low === 0) return [0, 1];
  const room = Math.abs(low) / 2;
  return [low - room, low + room];
}

/**
 * @param axis its domain wins over `data`
 * @param data smallest and largest value; without any, 0 … 1 (logarithmic: 0.1 … 1)
 * @param range pixels of the first and last value
 * @throws RangeError for a domain that is no interval, or not positive on a logarithmic axis
 */
export function makeScale(
  axis: Axis,
  data: readonly [number, number] | undefined,
  range: readonly [number, number],
): Scale {
  const { log = false, domain } = axis;
  if (domain && !(Number.isFinite(domain[0]) && Number.isFinite(domain[1]) && domain[0] < domain[1])) {
    throw new RangeError(`chart: the axis ${axis.label ?? ''} cannot go from ${domain[0]} to ${domain[1]}`);
  }
  if (log && domain && domain[0] <= 0) {
    throw new RangeError(`chart: a logarithmic axis must begin above 0, not at ${domain[0]}`);
  }
  const wanted = spread(domain ?? data ?? (log ? [0.1, 1] : [0, 1]), log);
  const count = Math.max(2, Math.abs(range[1] - range[0]) / 70);
  const shows = (value: number): boolean => Number.isFinite(value) && (!log || value > 0);
  if (log) {
    const scale = scaleLog().domain(wanted).range(range);
    if (!domain) scale.nice();
    return Object.assign((value: number) => scale(value), { shows, ticks: () => logTicks(scale, count) });
  }
  const scale = scaleLinear().domain(wanted).range(range);
  if (!domain) scale.nice(count);
  const format = scale.tickFormat(count);
  const ticks = () => scale.ticks(count).map((value) => ({ value, label: format(value) }));
  return Object.assign((value: number) => scale(value), { shows, ticks });
}

/** Powers of ten, each with a label if there is room; within two decades, the steps between have labels too. */
function logTicks(scale: ReturnType<typeof scaleLog<number, number>>, count: number): Tick[] {
  const [low, high] = scale.domain();
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / count));
  return scale.ticks().map((value) => {
    const power = Math.log10(value);
    const whole = Math.abs(power - Math.round(power)) < 1e-9;
    const labelled = whole ? Math.round(power) % every === 0 : decades < 1.5;
    return { value, label: labelled ? compact(value) : '' };
  });
}

function compact(value: number): string {
  const short = Number(value.toPrecision(6));
  return Math.abs(short) >= 1e-3 && Math.abs(short) < 1e5 ? String(short) : short.toExponential();
}
