/** Charts as SVG text, drawn without a browser, and SVG as PNG. Knows nothing of what the numbers mean. */
export { type ChartOptions, COLOURS } from './frame.js';
export { type Distribution, type HistogramChart, histogramChart } from './histogram-chart.js';
export { type LineChart, lineChart, type Series } from './line-chart.js';
export { type PngOptions, renderPng } from './png.js';
export type { Axis } from './scale.js';
export { type Attributes, document, element, escapeText, FONT, fitText, textAt, textWidth } from './svg.js';
