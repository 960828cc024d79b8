import { readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import * as torch from '../torch/index.js';

/** Version of this package. */
export function packageVersion(): string {
  try {
    // dist/src/engine/ → the package's folder.
    const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
    return (JSON.parse(text) as { version: string }).version;
  } catch {
    return 'unknown';
  }
}

/** What a run ran on, one fact a line: what one needs to know to repeat it. */
export function environmentSummary(): string {
  const cores = cpus();
  const facts = [
    ['reid-native', packageVersion()],
    ['Node.js', process.version],
    ['libtorch', torch.version()],
    ['CUDA', torch.cuda.isAvailable() ? `${torch.cuda.deviceCount()} device(s)` : 'no device'],
    [
      'CPU',
      `${cores[0]?.model.trim() ?? 'unknown'}, ${cores.length} cores, ${torch.getNumThreads()} threads in use`,
    ],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(1)} GiB`],
    ['system', `${process.platform} ${process.arch}`],
  ];
  return facts.map(([name, value]) => `  ${name.padEnd(12)} ${value}`).join('\n');
}
