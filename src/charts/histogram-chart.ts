import { type ChartOptions, COLOURS, drawFrame, layOut } from './frame.js';
import { type Axis, makeScale } from './scale.js';
import { element, escapeText } from './svg.js';

export interface Distribution {
  name: string;
  /** How much falls between `edges[i]` and `edges[i + 1]`: one less than there are edges. */
  counts: ArrayLike<number>;
  /** CSS colour; default the next of {@link COLOURS}. */
  colour?: string;
}

export interface HistogramChart extends ChartOptions {
  /** Ascending. */
  edges: ArrayLike<number>;
  series: readonly Distribution[];
  /**
   * `share` (default): each distribution adds up to 1, so that few genuine pairs compare with many impostors.
   * `count`: as they are.
   */
  scale?: 'share' | 'count';
  x?: Axis;
  y?: Axis;
}

/**
 * Histograms over the same edges, one behind the other, half transparent, as SVG.
 *
 * @throws RangeError when the numbers of edges and counts do not fit
 */
export function histogramChart(chart: HistogramChart): string {
  const { edges, series, scale = 'share', x = {}, y = {} } = chart;
  const bins = edges.length - 1;
  if (bins < 1) throw new RangeError('chart: a histogram needs two edges at least');
  for (const { name, counts } of series) {
    if (counts.length === bins) continue;
    throw new RangeError(`chart: '${name}' has ${counts.length} counts for ${edges.length} edges`);
  }
  const drawn = series.map((one, i) => {
    const counts = Array.from(one.counts);
    const whole = scale === 'share' ? counts.reduce((sum, count) => sum + count, 0) || 1 : 1;
    const heights = counts.map((count) => count / whole);
    return { name: one.name, colour: one.colour ?? COLOURS[i % COLOURS.length], heights };
  });
  const layout = layOut(chart, drawn);
  const { left, right, top, bottom } = layout.box;
  const highest = drawn.reduce((max, { heights }) => Math.max(max, ...heights), 0);
  const xScale = makeScale({ domain: [edges[0], edges[bins]], ...x }, undefined, [left, right]);
  const yScale = makeScale(y, [0, highest || 1], [bottom, top]);
  const base = y.log ? bottom : yScale(0);
  const marks = drawn.map(({ name, colour, heights }) => {
    const steps = heights.map((height, i) => {
      const at = yScale.shows(height) ? yScale(height) : base;
      return `V${at.toFixed(2)}H${xScale(edges[i + 1]).toFixed(2)}`;
    });
    const d = `M${xScale(edges[0]).toFixed(2)} ${base.toFixed(2)}${steps.join('')}V${base.toFixed(2)}Z`;
    const paint = { fill: colour, 'fill-opacity': 0.35, stroke: colour, 'stroke-width': 1.5 };
    return element('path', { d, ...paint }, element('title', {}, escapeText(name)));
  });
  const yLabel = y.label ?? (scale === 'share' ? 'share' : 'count');
  return drawFrame(chart, layout, { scale: xScale, label: x.label }, { scale: yScale, label: yLabel }, marks);
}
