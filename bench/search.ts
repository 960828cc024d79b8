// Exact search in a GalleryIndex on one thread: processor time of a query, alone and among a thousand, and the peak
// memory of the process. Random features of 128 numbers; a process of its own for each size.

import { resourceUsage } from 'node:process';
import { GalleryIndex } from '../src/retrieval/index.js';
import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

const SIZES: Record<string, number> = { '10k': 10_000, '100k': 100_000, '1M': 1_000_000 };
const DIM = 128;
const STEP = 10_000;
const TOP = 10;

/** Milliseconds of processor time. */
function processorTime(body: () => void): number {
  const before = process.cpuUsage();
  body();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function child(name: string): void {
  torch.setNumThreads(1);
  torch.manualSeed(0);
  using index = new GalleryIndex(DIM);
  for (let from = 0; from < SIZES[name]; from += STEP) {
    const entries = Array.from({ length: STEP }, (_, i) => ({ path: `${from + i}.jpg` }));
    torch.scope(() => index.add(torch.randn([STEP, DIM]), entries));
  }
  const queries = torch.randn([1000, DIM]);
  const one = (i: number) => torch.scope(() => index.search(queries.narrow(0, i, 1), TOP));
  one(0); // warms up
  const alone = processorTime(() => Array.from({ length: 20 }, (_, i) => one(i))) / 20;
  const among = processorTime(() => index.search(queries, TOP)) / 1000;
  const result = {
    [`${name}: a query alone`]: alone,
    [`${name}: a query among 1,000`]: among,
    [`${name}: peak`]: resourceUsage().maxRSS / 1024,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** @param only sizes; all by default */
export function search(rounds: number, only: readonly string[] = Object.keys(SIZES)): Figure[] {
  const unknown = only.find((name) => !Object.hasOwn(SIZES, name));
  if (unknown !== undefined)
    throw new Error(`no case '${unknown}'; there are ${Object.keys(SIZES).join(', ')}`);
  return only.flatMap((name) =>
    compare('search', {
      rounds,
      args: [name],
      python: false,
      units: { '*': 'ms', [`${name}: peak`]: 'MiB' },
    }),
  );
}

if (process.argv[2] === '--child') child(process.argv[3]);
