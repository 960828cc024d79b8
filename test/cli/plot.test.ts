import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { readMetrics, runCharts } from '../../src/engine/run-report.js';
import { reidNative } from './support.js';

async function inFolder(body: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'reid-plot-'));
  try {
    await body(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function writeRun(folder: string, name: string, text: string): string {
  mkdirSync(join(folder, name));
  writeFileSync(join(folder, name, 'metrics.json'), text);
  return join(folder, name);
}

const LINES = [
  {
    iteration: 1,
    total_loss: 4,
    loss_cls: 3,
    lr: 0.1,
    time: 0.5,
    eta_seconds: 9,
    'health/grad_norm/head': 2,
  },
  { iteration: 3, total_loss: 2, loss_cls: null, lr: 0.01, mAP: 30, 'Rank-1': 40 },
  { iteration: 5, total_loss: 1, loss_cls: 0.5, lr: 0.001, mAP: 50.25, 'Rank-1': 60 },
]
  .map((line) => `${JSON.stringify(line)}\n`)
  .join('');

test('metrics are read as they were written, up to a line that is cut short', () =>
  inFolder((folder) => {
    const { name, scalars } = readMetrics(writeRun(folder, 'one', `${LINES}{"iteration":7,"total`));
    assert.equal(name, 'one');
    assert.deepEqual(scalars.get('total_loss'), { x: [1, 3, 5], y: [4, 2, 1] });
    assert.deepEqual(scalars.get('mAP'), { x: [3, 5], y: [30, 50.25] });
    assert.deepEqual(scalars.get('loss_cls'), { x: [1, 3, 5], y: [3, Number.NaN, 0.5] });
    assert.throws(() => readMetrics(join(folder, 'two')), /two does not exist/);
    assert.throws(() => readMetrics(folder), /has no metrics\.json: it is no OUTPUT_DIR/);
    assert.throws(
      () => readMetrics(writeRun(folder, 'bad', `nonsense\n${LINES}`)),
      /bad\/metrics\.json, line 1: not an object/,
    );
    assert.throws(() => readMetrics(writeRun(folder, 'none', '')), /has no values/);
  }));

test('charts hold what belongs together, by run', () =>
  inFolder((folder) => {
    const runs = ['one', 'two'].map((name) => readMetrics(writeRun(folder, name, LINES)));
    const ids = ['losses', 'learning_rate', 'results', 'time', 'health_grad_norm'];
    assert.deepEqual(
      runCharts(runs).map(({ id }) => id),
      ids,
    );
    const [losses] = runCharts(runs);
    for (const series of ['one: total_loss', 'one: loss_cls', 'two: total_loss']) {
      assert.ok(losses!.svg.includes(series), series);
    }
    // Of several runs colours tell what is shown and dashes which run; of one figure alone, colours tell the run.
    const strokes = (svg: string, path: string): string[] =>
      [...svg.matchAll(/<path d="M[^"]*" fill="none" stroke="(#\w+)"[^>]*?(?:stroke-dasharray="([^"]*)")?>/g)]
        .map(([, colour, dash]) => `${colour} ${dash ?? ''}`)
        .filter((each) => !each.startsWith(path));
    const frame = '#444444';
    assert.deepEqual(strokes(runCharts(runs)[2]!.svg, frame), [
      '#0072b2 ',
      '#d55e00 ',
      '#0072b2 6 3',
      '#d55e00 6 3',
    ]);
    assert.deepEqual(strokes(runCharts(runs)[1]!.svg, frame), ['#0072b2 ', '#d55e00 ']);
    assert.deepEqual(
      [...losses!.svg.matchAll(/>(total_loss|loss_cls|one|two)<\/text>/g)].map(([, name]) => name),
      ['total_loss', 'loss_cls', 'one', 'two'],
    );
    assert.ok(runCharts(runs.slice(0, 1))[2]!.svg.includes('<title>mAP</title>'));
    assert.ok(!runCharts(runs).some(({ svg }) => svg.includes('eta_seconds')));
  }));

test('captured values: a chart for each kind of figure, by layer', () =>
  inFolder((folder) => {
    const line = {
      iteration: 0,
      'capture/backbone.layer1/output/norm': 900,
      'capture/backbone.layer2/output/norm': 700,
      'capture/backbone.layer1/gradOutput.1#2/mean': 0.1,
    };
    const charts = runCharts([readMetrics(writeRun(folder, 'one', JSON.stringify(line)))]);
    assert.deepEqual(
      charts.map(({ id, title }) => [id, title]),
      [
        ['capture_output_norm', 'Captured: norm of output'],
        ['capture_gradOutput_1_2_mean', 'Captured: mean of gradOutput.1#2'],
      ],
    );
    assert.match(charts[0]!.svg, />backbone\.layer1<.*>backbone\.layer2</);
  }));

test('reid-native plot: SVG, PNG, and a page that needs no other file', () =>
  inFolder(async (folder) => {
    const out = join(folder, 'out');
    const runs = [writeRun(folder, 'a <b>', LINES), join(writeRun(folder, 'c', LINES), 'metrics.json')];
    const { code, stdout, stderr } = await reidNative(['plot', ...runs, '--out', out]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^5 charts \(losses, learning_rate, results, time, health_grad_norm\) written to /);
    assert.equal(readdirSync(out).length, 11);
    const { width, height } = await sharp(join(out, 'results.png')).metadata();
    assert.ok(width > 600 && height > 300);
    const page = readFileSync(join(out, 'plot.html'), 'utf8');
    assert.equal(page.match(/<figure><svg /g)!.length, 5);
    assert.ok(page.includes('<td>a &lt;b&gt;</td><td>1</td><td>50.25</td><td>60</td>'));
    assert.doesNotMatch(page.replaceAll('http://www.w3.org/2000/svg', ''), /https?:|<script|src=|href=/);
    const nowhere = await reidNative(['plot', join(folder, 'nowhere')]);
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /nowhere does not exist/);
  }));
