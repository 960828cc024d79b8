// Evaluation: distances and ranking, re-ranking, and how both grow with the gallery. Random features and labels, made
// by each side for itself; wall time and peak memory of a process of its own for each case.

import { resourceUsage } from 'node:process';
import { ReidEvaluator, type ReidEvaluatorOptions } from '../src/evaluation/index.js';
import { setQuiet } from '../src/logger.js';
import * as torch from '../src/torch/index.js';
import { compare, type Figure } from './compare.js';

interface Case {
  about: string;
  queries: number;
  gallery: number;
  dim: number;
  options: ReidEvaluatorOptions;
  /** Whether Python is measured too. */
  python: boolean;
}

const plain = { dim: 128, queries: 1000, options: {}, python: false };
const CASES: Record<string, Case> = {
  market: {
    about: 'distance and ranking, 3,368 × 15,913, 2048-d',
    queries: 3368,
    gallery: 15913,
    dim: 2048,
    options: {},
    python: true,
  },
  rerank: {
    about: 're-ranking, 842 × 3,978, 2048-d',
    queries: 842,
    gallery: 3978,
    dim: 2048,
    options: { rerank: {} },
    python: false,
  },
  'rerank-market': {
    about: 're-ranking, 3,368 × 15,913, 2048-d',
    queries: 3368,
    gallery: 15913,
    dim: 2048,
    options: { rerank: {} },
    python: false,
  },
  '10k': { ...plain, about: 'distance and ranking, 1,000 × 10,000, 128-d', gallery: 10_000 },
  '100k': { ...plain, about: 'distance and ranking, 1,000 × 100,000, 128-d', gallery: 100_000 },
  '1M': { ...plain, about: 'distance and ranking, 1,000 × 1,000,000, 128-d', gallery: 1_000_000 },
  'rerank-100k': {
    ...plain,
    about: 're-ranking, 1,000 × 100,000, 128-d',
    gallery: 100_000,
    options: { rerank: {} },
  },
};

async function child(name: string): Promise<void> {
  setQuiet(true);
  torch.setNumThreads(2);
  torch.manualSeed(0);
  const { about, queries, gallery, dim, options } = CASES[name];
  const total = queries + gallery;
  const identities = Math.max(2, Math.round(gallery / 21));
  const evaluator = new ReidEvaluator(queries, options);
  const centres = torch.randn([identities, dim]);
  for (let from = 0; from < total; from += 512) {
    const n = Math.min(512, total - from);
    torch.scope(() => {
      const pids = torch.randint(0, identities, [n]);
      const features = centres
        .index_select(0, pids)
        .mul_(0.3)
        .add_(torch.randn([n, dim]));
      const numbers = (t: torch.Tensor): Int32Array => t.int().toTypedArray() as Int32Array;
      evaluator.process(features, { pids: numbers(pids), camids: numbers(torch.randint(0, 6, [n])) });
    });
  }
  centres.dispose();
  const start = process.hrtime.bigint();
  const before = process.cpuUsage();
  await evaluator.evaluate();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { user, system } = process.cpuUsage(before);
  const result = {
    [`${about}: time`]: seconds,
    [`${about}: processor time`]: (user + system) / 1e6,
    [`${about}: peak`]: resourceUsage().maxRSS / 1024,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** @param only names of cases; all by default */
export function evaluation(rounds: number, only: readonly string[] = Object.keys(CASES)): Figure[] {
  const unknown = only.find((name) => !Object.hasOwn(CASES, name));
  if (unknown !== undefined)
    throw new Error(`no case '${unknown}'; there are ${Object.keys(CASES).join(', ')}`);
  return only
    .map((name) => [name, CASES[name]] as const)
    .flatMap(([name, { about, python }]) =>
      compare('evaluation', {
        rounds,
        args: [name],
        python,
        units: { '*': 's', [`${about}: peak`]: 'MiB' },
      }),
    );
}

if (process.argv[2] === '--child') await child(process.argv[3]);
