import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';

const EXAMPLES = `
  reid-native plot logs/demo
  reid-native plot logs/one logs/two --out compared

Draws what is in metrics.json: losses, learning rate, results, accuracy, times, and what health and capture hooks put
there. Each chart becomes an SVG and a PNG file; plot.html holds them all and needs no other file.`;

export function plotCommand(): Command {
  return new Command('plot')
    .description('Draws the course of one or several trainings.')
    .argument('<runs...>', "OUTPUT_DIRs of trainings, or their metrics.json's")
    .option('--out <dir>', 'folder to write to', 'plots')
    .addHelpText('after', EXAMPLES)
    .action(run);
}

async function run(paths: string[], { out }: { out: string }): Promise<void> {
  const { readMetrics, runCharts, runPage } = await import('../engine/run-report.js');
  const { renderPng } = await import('../charts/index.js');
  const { writeFileAtomic } = await import('../engine/files.js');
  const { writeAtomicSync } = await import('../torch/serialization/atomic-file.js');
  const runs = paths.map(readMetrics);
  const charts = runCharts(runs);
  mkdirSync(out, { recursive: true });
  for (const { id, svg } of charts) {
    writeFileAtomic(join(out, `${id}.svg`), svg);
    writeAtomicSync(join(out, `${id}.png`), [await renderPng(svg)]);
  }
  writeFileAtomic(join(out, 'plot.html'), runPage(runs, charts));
  process.stdout.write(
    `${charts.length} charts (${charts.map(({ id }) => id).join(', ')}) written to ${out}\n`,
  );
}
