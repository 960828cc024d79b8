import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import sharp from 'sharp';
import {
  escapeText,
  fitText,
  histogramChart,
  lineChart,
  renderPng,
  textWidth,
} from '../../src/charts/index.js';

type Rgb = [number, number, number];

/** Pixels of a chart, as a renderer that refuses broken XML sees it. */
async function pixels(
  svg: string,
): Promise<{ at(x: number, y: number): Rgb; width: number; height: number }> {
  const png = await renderPng(svg, { scale: 1 });
  const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const at = (x: number, y: number): Rgb => {
    const from = (Math.round(y) * info.width + Math.round(x)) * 3;
    return [data[from], data[from + 1], data[from + 2]];
  };
  return { at, width: info.width, height: info.height };
}

/** The coordinates of every path with this stroke. */
function pathPoints(svg: string, stroke: string): [number, number][][] {
  return [...svg.matchAll(/<path d="(M[^"]+)"([^>]*)>/g)]
    .filter(([, , rest]) => rest.includes(`stroke="${stroke}"`))
    .flatMap(([, d]) => d.split('M').slice(1))
    .map((run) => run.split('L').map((pair) => pair.split(',').map(Number) as [number, number]));
}

test('a line goes from corner to corner of its frame', async () => {
  const svg = lineChart({
    series: [{ name: 'a', x: [0, 10], y: [0, 1], colour: '#ff0000' }],
    x: { domain: [0, 10] },
    y: { domain: [0, 1] },
    width: 400,
    height: 300,
  });
  const [[[x0, y0], [x1, y1]]] = pathPoints(svg, '#ff0000');
  assert.ok(x0 < x1 && y0 > y1);
  const picture = await pixels(svg);
  assert.deepEqual([picture.width, picture.height], [400, 300]);
  assert.deepEqual(picture.at(2, 2), [255, 255, 255]);
  const [red, green, blue] = picture.at((x0 + x1) / 2, (y0 + y1) / 2);
  assert.ok(red > 200 && green < 90 && blue < 90, `${red} ${green} ${blue}`);
});

test('a logarithmic axis: equal ratios are equally far apart, labels are powers of ten', () => {
  const svg = lineChart({
    series: [{ name: 'a', x: [1e-6, 1e-3, 1], y: [0, 0.5, 1], colour: '#ff0000' }],
    x: { log: true, domain: [1e-6, 1] },
  });
  const [[[a], [b], [c]]] = pathPoints(svg, '#ff0000');
  assert.ok(Math.abs(b - a - (c - b)) < 0.02);
  for (const label of ['1e-6', '1e-4', '0.01', '1']) assert.ok(svg.includes(`>${label}<`), label);
});

test('values without a place leave a gap, and a point alone is a dot', () => {
  const y = [1, 2, Number.NaN, 3, Number.POSITIVE_INFINITY, 4, 5, 6];
  const svg = lineChart({ series: [{ name: 'a', x: y.map((_, i) => i), y, colour: '#ff0000' }] });
  assert.deepEqual(
    pathPoints(svg, '#ff0000').map((run) => run.length),
    [2, 3],
  );
  assert.equal(svg.match(/<circle/g)?.length, 1);
  const log = lineChart({
    series: [{ name: 'a', x: [0, 1, 2, 3], y: [5, 0, 6, 7], colour: '#ff0000' }],
    y: { log: true },
  });
  assert.deepEqual(
    pathPoints(log, '#ff0000').map((run) => run.length),
    [2],
  );
});

test('a long line is thinned without losing its peaks', () => {
  const x = Array.from({ length: 200_000 }, (_, i) => i);
  const y = x.map((i) => (i === 123_457 ? 100 : i === 77_777 ? -50 : Math.sin(i)));
  const series = (ys: number[]) => [{ name: 'a', x, y: ys, colour: '#ff0000' }];
  const domain = { domain: [-60, 120] as const };
  const [points] = pathPoints(lineChart({ series: series(y), y: domain }), '#ff0000');
  assert.ok(points.length < 5000, String(points.length));
  const [flat] = pathPoints(
    lineChart({ series: series(x.map((i) => (i % 2 ? 100 : -50))), y: domain }),
    '#ff0000',
  );
  const ys = (run: [number, number][]): number[] => run.map(([, at]) => at);
  assert.equal(Math.min(...ys(points)), Math.min(...ys(flat)));
  assert.equal(Math.max(...ys(points)), Math.max(...ys(flat)));
});

test('histograms show shares: the bars of each distribution add up to one', async () => {
  const svg = histogramChart({
    title: 'distances',
    edges: [0, 1, 2],
    series: [
      { name: 'few', counts: [1, 3], colour: '#ff0000' },
      { name: 'many', counts: [3000, 1000], colour: '#0000ff' },
    ],
    y: { domain: [0, 1] },
  });
  const heights = (stroke: string): number[] => {
    const d = new RegExp(
      `d="M[\\d.]+ ([\\d.]+)((?:V[\\d.]+H[\\d.]+)+)V[\\d.]+Z"[^>]*stroke="${stroke}"`,
    ).exec(svg);
    assert.ok(d);
    return [...d[2].matchAll(/V([\d.]+)/g)].map(([, v]) => Number(d[1]) - Number(v));
  };
  const [few, many] = [heights('#ff0000'), heights('#0000ff')];
  assert.ok(Math.abs(few[1] / few[0] - 3) < 0.01);
  assert.ok(Math.abs(few[0] - many[1]) < 0.02 && Math.abs(few[1] - many[0]) < 0.02);
  await pixels(svg);
});

test('nothing to draw, equal values and single points make charts too', async () => {
  for (const svg of [
    lineChart({ series: [] }),
    lineChart({ series: [{ name: 'a', x: [], y: [] }], x: { log: true }, y: { log: true } }),
    lineChart({ series: [{ name: 'a', x: [3], y: [0] }] }),
    lineChart({ series: [{ name: 'a', x: [1, 2], y: [7, 7] }], y: { log: true } }),
    histogramChart({ edges: [0, 1], series: [{ name: 'a', counts: [0] }] }),
  ]) {
    assert.doesNotMatch(svg, /NaN|Infinity/);
    await pixels(svg);
  }
  const nothing = lineChart({ series: [{ name: 'a', x: [1, 2], y: [0, 0] }] });
  assert.doesNotMatch(nothing, /[-−]1\.0</, 'zeros are at the bottom');
});

test('a long legend makes a chart higher and leaves the plot its room', () => {
  const series = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ name: `a long name of a line ${i}`, x: [0, 1], y: [0, i] }));
  const heightOf = (svg: string): number => Number(/ height="(\d+)"/.exec(svg)![1]);
  const plotOf = (svg: string): number =>
    Number(/<svg x="\d+" y="\d+" width="\d+" height="(\d+)"/.exec(svg)![1]);
  const [few, many] = [lineChart({ series: series(2) }), lineChart({ series: series(40) })];
  assert.equal(heightOf(few), 400);
  assert.equal(plotOf(many), 200);
  assert.ok(heightOf(many) > 500);
});

test('numbers that do not fit are refused', () => {
  assert.throws(() => lineChart({ series: [{ name: 'loss', x: [1, 2], y: [1] }] }), /'loss' has 2 x for 1 y/);
  assert.throws(
    () => histogramChart({ edges: [0, 1], series: [{ name: 'g', counts: [1, 2] }] }),
    /'g' has 2/,
  );
  assert.throws(() => lineChart({ series: [], x: { log: true, domain: [0, 1] } }), /must begin above 0/);
  assert.throws(() => lineChart({ series: [], y: { domain: [1, Number.NaN] } }), /cannot go from 1 to NaN/);
});

test('any text in a chart leaves it well-formed', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('<&>"\'', '\ud800', '\u0000\uffff', ']]>'),
  );
  await fc.assert(
    fc.asyncProperty(text, async (name) => {
      assert.doesNotMatch(escapeText(name), /[<>"']/);
      const series = [{ name, x: [0, 1], y: [0, 1] }];
      await sharp(Buffer.from(lineChart({ title: name, series, x: { label: name } }))).metadata();
    }),
    { numRuns: 50 },
  );
});

test('long text is cut in its middle', () => {
  assert.equal(fitText('short.jpg', 200, 12), 'short.jpg');
  const fitted = fitText(`first${'x'.repeat(100)}last`, 100, 12);
  assert.match(fitted, /^first.*….*last$/);
  assert.ok(textWidth(fitted, 12) <= 100);
});
