import type { Scale } from './scale.js';
import { document, element, fitText, textAt, textWidth } from './svg.js';

/** Eight colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal Design", 2008). */
export const COLOURS: readonly string[] = [
  '#0072b2',
  '#d55e00',
  '#009e73',
  '#cc79a7',
  '#e69f00',
  '#56b4e9',
  '#000000',
  '#999999',
];

/** What every chart has. */
export interface ChartOptions {
  title?: string;
  /** Pixels; default 640 × 400. A legend of many rows makes it higher. */
  width?: number;
  height?: number;
}

export interface LegendEntry {
  name: string;
  colour: string;
  /** Lengths of dashes and gaps in pixels, as SVG's `stroke-dasharray`; default unbroken. */
  dash?: string | undefined;
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Where everything goes: plot area, and the legend's entries in as many rows as they need. */
export interface Layout {
  width: number;
  height: number;
  box: Box;
  legend: { entry: LegendEntry; x: number; y: number }[];
}

const MAJOR = '#dddddd';
const MINOR = '#f0f0f0';
const ROW = 18;
const SWATCH = 24;
/** A long legend makes a picture higher, not its plot lower than this. */
const LEAST_PLOT = 200;

export function layOut(options: ChartOptions, entries: readonly LegendEntry[]): Layout {
  const { width = 640 } = options;
  const [left, right] = [64, width - 20];
  let y = options.title ? 40 : 18;
  const legend: Layout['legend'] = [];
  let x = left;
  for (const entry of entries) {
    const name = fitText(entry.name, right - left - SWATCH, 12);
    const needed = SWATCH + textWidth(name, 12) + 16;
    if (x > left && x + needed > right) {
      x = left;
      y += ROW;
    }
    legend.push({ entry: { ...entry, name }, x, y });
    x += needed;
  }
  const top = entries.length > 0 ? y + ROW : y;
  const bottom = Math.max((options.height ?? 400) - 48, top + LEAST_PLOT);
  return { width, height: bottom + 48, legend, box: { left, top, right, bottom } };
}

/** The whole chart: title, legend, axes with grid, and `marks`, which are clipped at the plot's edge. */
export function drawFrame(
  options: ChartOptions,
  { width, height, box, legend }: Layout,
  x: { scale: Scale; label?: string },
  y: { scale: Scale; label?: string },
  marks: readonly string[],
): string {
  const { left, top, right, bottom } = box;
  const grid: string[] = [];
  const labels: string[] = [];
  for (const { value, label } of x.scale.ticks()) {
    const at = x.scale(value);
    grid.push(element('line', { x1: at, x2: at, y1: top, y2: bottom, stroke: label ? undefined : MINOR }));
    if (label) labels.push(textAt(at, bottom + 16, label, { 'text-anchor': 'middle' }));
  }
  for (const { value, label } of y.scale.ticks()) {
    const at = y.scale(value);
    grid.push(element('line', { x1: left, x2: right, y1: at, y2: at, stroke: label ? undefined : MINOR }));
    if (label) labels.push(textAt(left - 6, at + 4, label, { 'text-anchor': 'end' }));
  }
  const middle = (top + bottom) / 2;
  if (x.label) labels.push(textAt((left + right) / 2, bottom + 36, x.label, { 'text-anchor': 'middle' }));
  if (y.label) {
    const turned = { 'text-anchor': 'middle', transform: `rotate(-90 16 ${Math.round(middle)})` };
    labels.push(textAt(16, Math.round(middle), y.label, turned));
  }
  const keys = legend.map(({ entry, x: at, y: row }) => {
    const stroke = {
      stroke: entry.colour,
      'stroke-width': 3,
      'stroke-dasharray': entry.dash,
    };
    const line = element('line', { x1: at, x2: at + SWATCH - 6, y1: row - 4, y2: row - 4, ...stroke });
    return line + textAt(at + SWATCH, row, entry.name);
  });
  const title = options.title
    ? [textAt(left, 20, fitText(options.title, right - left, 14), { 'font-size': 14, 'font-weight': 'bold' })]
    : [];
  // An inner svg clips what lies outside of it, and unlike a clip path needs no name, of which a page with
  // several charts would have to keep track.
  const [w, h] = [right - left, bottom - top];
  const clipped = { x: left, y: top, width: w, height: h, viewBox: `${left} ${top} ${w} ${h}` };
  return document(
    width,
    height,
    options.title ?? 'chart',
    ...title,
    element('g', { stroke: MAJOR }, ...grid),
    element('svg', clipped, ...marks),
    element('path', { d: `M${left} ${top}V${bottom}H${right}`, fill: 'none', stroke: '#444444' }),
    element('g', { fill: '#333333' }, ...labels, ...keys),
  );
}
