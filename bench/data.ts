// The training loader at 256 × 128 on JPEGs of Market-1501's size (128 × 64): resize, pad and crop, flip, erasing.
// Beside it FastReID itself (FASTREID=/its/folder), or its pipeline on torchvision and Pillow, as far as they can be
// imported. CPU time is what counts where other programs run too: wall times then say little.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { getCfg } from '../src/config/index.js';
import {
  buildTransforms,
  CommDataset,
  DataLoader,
  EndlessBatches,
  TrainingSampler,
} from '../src/data/index.js';
import * as torch from '../src/torch/index.js';
import { pythonTorch, repoRoot } from '../test/support/paths.js';
import { compare, type Figure } from './compare.js';

const PICTURES = 640;
const BATCH = 64;
const EPOCH = PICTURES / BATCH;
/** Batches after which the JavaScript is compiled and memory has its size. */
const WARM_UP = 4 * EPOCH;

/** Pictures with the smooth areas, edges and grain of a photo: blurred colours, sharp bars, noise. */
async function makePictures(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  let seed = 1;
  const random = (n: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let i = 0; i < PICTURES; i++) {
    const coarse = Buffer.from(Array.from({ length: 4 * 8 * 3 }, () => random(256)));
    const bars = Array.from({ length: 5 }, () => {
      const [x, y, w, h] = [random(50), random(110), 4 + random(20), 6 + random(40)];
      return `<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="hsl(${random(360)} 40% ${20 + random(60)}%)"/>`;
    });
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="64" height="128">${bars.join('')}</svg>`;
    const grain = Buffer.from(
      Array.from({ length: 64 * 128 * 4 }, (_, k) => (k % 4 === 3 ? 40 : random(256))),
    );
    const smooth = await sharp(coarse, { raw: { width: 4, height: 8, channels: 3 } })
      .resize(64, 128, { fit: 'fill' })
      .png()
      .toBuffer();
    const jpeg = await sharp(smooth)
      .composite([
        { input: Buffer.from(svg) },
        { input: grain, raw: { width: 64, height: 128, channels: 4 } },
      ])
      .jpeg({ quality: 85 })
      .toBuffer();
    writeFileSync(join(folder, `${String(i).padStart(4, '0')}.jpg`), jpeg);
  }
}

function makeLoader(folder: string, workers: number): DataLoader {
  const cfg = getCfg();
  cfg.INPUT.FLIP.ENABLED = true;
  cfg.INPUT.PADDING.ENABLED = true;
  cfg.INPUT.REA.ENABLED = true;
  const items = readdirSync(folder).map((name, i) => ({ imgPath: join(folder, name), pid: i, camid: 0 }));
  const batches = new EndlessBatches(new TrainingSampler(items.length, { seed: 0 }), BATCH);
  const pipeline = buildTransforms(cfg);
  return new DataLoader({ dataset: new CommDataset(items), batches, pipeline, workers, seed: 0 });
}

interface Measured {
  perCpuSecond: number;
  perSecond: number;
  busy: number;
}

async function measure(loader: DataLoader, batches: number): Promise<Measured> {
  for (let i = 0; i < WARM_UP; i++) (await loader.next())!.dispose();
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const start = performance.now();
  for (let i = 0; i < batches; i++) (await loader.next())!.dispose();
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const images = batches * BATCH;
  return {
    perCpuSecond: images / ((user + system) / 1e6),
    perSecond: images / seconds,
    busy: 100 * performance.eventLoopUtilization(loop).utilization,
  };
}

async function child(folder: string): Promise<void> {
  torch.setNumThreads(1);
  const results: Measured[] = [];
  for (const workers of [1, 2]) {
    const loader = makeLoader(folder, workers);
    results.push(await measure(loader, 10 * EPOCH));
    await loader.close();
  }
  const loader = makeLoader(folder, 2);
  await measure(loader, WARM_UP);
  const before = process.memoryUsage.rss();
  await measure(loader, 10 * EPOCH);
  const growth = (process.memoryUsage.rss() - before) / 2 ** 20;
  await loader.close();
  const figures = {
    'images a CPU second': results[0].perCpuSecond,
    'images a CPU second, 2 workers': results[1].perCpuSecond,
    'images a second, 1 worker': results[0].perSecond,
    'images a second, 2 workers': results[1].perSecond,
    'second worker, times one': results[1].perSecond / results[0].perSecond,
    'JavaScript thread busy, 1 worker': results[0].busy,
    'JavaScript thread busy, 2 workers': results[1].busy,
    'memory growth in 10 epochs': growth,
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

/** What the Python side would use; undefined where Pillow is missing. */
function pythonUses(): string | undefined {
  const python = pythonTorch();
  if (python === undefined) return undefined;
  const script = join(repoRoot, 'bench/python/data.py');
  const { status, stdout, stderr } = spawnSync(python.command, ['-W', 'ignore', script], {
    env: python.env,
    encoding: 'utf8',
  });
  if (status === 0) return stdout.trim();
  if (process.env.FASTREID !== undefined) throw new Error(`FASTREID cannot be imported:\n${stderr}`);
  return undefined;
}

export async function data(rounds: number): Promise<Figure[]> {
  const uses = pythonUses();
  process.stderr.write(
    uses ? `Python uses ${uses}\n` : 'Without Python beside it: no Pillow (pip install pillow)\n',
  );
  const folder = mkdtempSync(join(tmpdir(), 'reid-bench-'));
  try {
    await makePictures(folder);
    return compare('data', {
      rounds,
      args: [folder],
      ...(uses === undefined && { python: false as const }),
      units: {
        'images a CPU second': '',
        'images a CPU second, 2 workers': '',
        'images a second, 1 worker': '',
        'images a second, 2 workers': '',
        'second worker, times one': '×',
        'JavaScript thread busy, 1 worker': '%',
        'JavaScript thread busy, 2 workers': '%',
        'memory growth in 10 epochs': 'MiB',
      },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[2] === '--child') await child(process.argv[3]!);
