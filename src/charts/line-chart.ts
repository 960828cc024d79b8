import { line } from 'd3-shape';
import { type ChartOptions, COLOURS, drawFrame, type LegendEntry, layOut } from './frame.js';
import { type Axis, extent, makeScale, type Scale } from './scale.js';
import { element, escapeText } from './svg.js';

export interface Series {
  name: string;
  x: ArrayLike<number>;
  /** As many as `x`. The line has a gap where a value is not a number or, on a logarithmic axis, not positive. */
  y: ArrayLike<number>;
  /** As SVG's `stroke-dasharray`; default unbroken. */
  dash?: string | undefined;
  /** CSS colour; default the next of {@link COLOURS}. */
  colour?: string;
}

export interface LineChart extends ChartOptions {
  series: readonly Series[];
  /** Default: an entry for each series. */
  legend?: readonly LegendEntry[] | undefined;
  x?: Axis;
  y?: Axis;
}

type Point = [x: number, y: number];

/**
 * Lines in a frame, as SVG. Of a line with more points than pixels, only what can be seen is written: each column
 * of pixels keeps its first, lowest, highest and last point.
 *
 * @throws RangeError when a series has unequal numbers of x and y
 */
export function lineChart(chart: LineChart): string {
  const { series, x = {}, y = {} } = chart;
  for (const one of series) {
    if (one.x.length === one.y.length) continue;
    throw new RangeError(`chart: '${one.name}' has ${one.x.length} x for ${one.y.length} y`);
  }
  const drawn = series.map((one, i) => ({ ...one, colour: one.colour ?? COLOURS[i % COLOURS.length] }));
  const layout = layOut(chart, chart.legend ?? drawn);
  const { left, right, top, bottom } = layout.box;
  const xs = extent(
    series.map((one) => one.x),
    x.log,
  );
  const ys = extent(
    series.map((one) => one.y),
    y.log,
  );
  const xScale = makeScale(x.domain || !xs || x.log ? x : { ...x, domain: exact(xs) }, xs, [left, right]);
  const yScale = makeScale(y, ys, [bottom, top]);
  const marks = drawn.map(({ name, colour, dash, ...one }) => {
    const attributes = { fill: 'none', stroke: colour, 'stroke-width': 2, 'stroke-linejoin': 'round' };
    const hint = element('title', {}, escapeText(name));
    const pieces = unbroken(one, xScale, yScale).map(thin);
    const dots = pieces
      .filter((points) => points.length === 1)
      .map(([[cx, cy]]) => element('circle', { cx, cy, r: 3, fill: colour }, hint));
    const lines = pieces.filter((points) => points.length > 1);
    const d = lines.map((points) => line().digits(2)(points)).join('');
    return [d ? element('path', { d, ...attributes, 'stroke-dasharray': dash }, hint) : '', ...dots].join('');
  });
  return drawFrame(
    chart,
    layout,
    { scale: xScale, label: x.label },
    { scale: yScale, label: y.label },
    marks,
  );
}

/** A line begins and ends at the frame; only one without length needs room. */
function exact([low, high]: [number, number]): readonly [number, number] | undefined {
  return low < high ? [low, high] : undefined;
}

/** The runs of neighbouring points that can be shown, in pixels. */
function unbroken({ x, y }: Pick<Series, 'x' | 'y'>, xScale: Scale, yScale: Scale): Point[][] {
  const runs: Point[][] = [];
  let run: Point[] = [];
  for (let i = 0; i < x.length; i++) {
    if (xScale.shows(x[i]) && yScale.shows(y[i])) {
      if (run.length === 0) runs.push(run);
      run.push([xScale(x[i]), yScale(y[i])]);
    } else run = [];
  }
  return runs;
}

/** What can be seen of a line. */
function thin(points: Point[]): Point[] {
  if (points.length < 2000) return points;
  const kept: Point[] = [];
  for (let from = 0; from < points.length; ) {
    const column = Math.round(points[from][0]);
    let [low, high, to] = [from, from, from];
    for (; to < points.length && Math.round(points[to][0]) === column; to++) {
      if (points[to][1] < points[low][1]) low = to;
      if (points[to][1] > points[high][1]) high = to;
    }
    const chosen = [...new Set([from, low, high, to - 1])].sort((a, b) => a - b);
    kept.push(...chosen.map((i) => points[i]));
    from = to;
  }
  return kept;
}
