// Evaluation: distances and ranking, re-ranking, and how both grow with the gallery. Random features and labels, made
// by each side for itself from the same generator; wall time and peak memory of a process of its own for each case.

import { resourceUsage } from 'node:process';
import { ReidEvaluator } from '../src/evaluation/index.js';
import { setQuiet } from '../src/logger.js';
import * as torch from '../src/torch/index.js';
import { type CompareOptions, compare, type Figure } from './compare.js';

interface Case {
  about: string;
  queries: number;
  gallery: number;
  dim: number;
  rerank: boolean;
}

const market = { queries: 3368, gallery: 15913, dim: 2048 };
const ranked = (gallery: number): Case => ({
  about: `distance and ranking, 1,000 × ${gallery.toLocaleString('en')}, 128-d`,
  queries: 1000,
  gallery,
  dim: 128,
  rerank: false,
});
const reranked = (gallery: number): Case => ({
  ...ranked(gallery),
  about: `re-ranking, 1,000 × ${gallery.toLocaleString('en')}, 128-d`,
  rerank: true,
});

export const CASES: Record<string, Case> = {
  market: { ...market, about: 'distance and ranking, 3,368 × 15,913, 2048-d', rerank: false },
  rerank: {
    about: 're-ranking, 842 × 3,978, 2048-d',
    queries: 842,
    gallery: 3978,
    dim: 2048,
    rerank: true,
  },
  'rerank-market': { ...market, about: 're-ranking, 3,368 × 15,913, 2048-d', rerank: true },
  '10k': ranked(10_000),
  '100k': ranked(100_000),
  '1M': ranked(1_000_000),
  'rerank-10k': reranked(10_000),
  'rerank-100k': reranked(100_000),
};

const THREADS = 2;
const identitiesOf = ({ gallery }: Case): number => Math.max(2, Math.round(gallery / 21));

async function child(name: string): Promise<void> {
  setQuiet(true);
  torch.setNumThreads(THREADS);
  torch.manualSeed(0);
  const { about, queries, gallery, dim, rerank } = CASES[name];
  const total = queries + gallery;
  const identities = identitiesOf(CASES[name]);
  const evaluator = new ReidEvaluator(queries, rerank ? { rerank: {} } : {});
  evaluator.reset(total);
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
  const { mAP } = await evaluator.evaluate();
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const { user, system } = process.cpuUsage(before);
  const result = {
    [`${about}: time`]: seconds,
    [`${about}: processor time`]: (user + system) / 1e6,
    [`${about}: peak`]: resourceUsage().maxRSS / 1024,
    [`${about}: mAP`]: mAP as number,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/**
 * What is measured beside a case, and what it is called: FastReID's evaluation where `FASTREID` names a checkout of
 * it, which for re-ranking at Market size takes so long that it has to be asked for; else PyTorch, for one case.
 */
function twin(name: string, only: readonly string[] | undefined): Pick<CompareOptions, 'python' | 'twin'> {
  if (process.env.FASTREID === undefined) {
    return name === 'market' ? { twin: 'PyTorch' } : { python: false };
  }
  const cases = ['market', 'rerank', ...(only === undefined ? [] : ['rerank-market'])];
  return cases.includes(name) ? { python: 'fastreid_evaluation', twin: 'FastReID' } : { python: false };
}

/** @param only names of cases; all by default */
export function evaluation(rounds: number, only?: readonly string[]): Figure[] {
  const names = only ?? Object.keys(CASES);
  const unknown = names.find((name) => !Object.hasOwn(CASES, name));
  if (unknown !== undefined)
    throw new Error(`no case '${unknown}'; there are ${Object.keys(CASES).join(', ')}`);
  return names.flatMap((name) => {
    const { about } = CASES[name];
    const known = { ...CASES[name], identities: identitiesOf(CASES[name]), threads: THREADS };
    return compare('evaluation', {
      rounds,
      args: [name, JSON.stringify(known)],
      ...twin(name, only),
      units: { '*': 's', [`${about}: peak`]: 'MiB', [`${about}: mAP`]: '%' },
    });
  });
}

if (process.argv[2] === '--child') await child(process.argv[3]);
