import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import sharp from 'sharp';
import { EMOJI_FOLDER } from './datasets/emoji-reid.js';

/** The vendors, in the order of their camera numbers. OpenMoji's drawings are the queries. */
export const EMOJI_VENDORS = [
  'noto',
  'noto-v1',
  'twemoji',
  'openmoji',
  'emojione',
  'fluent-emoji-flat',
] as const;

const QUERY_VENDOR = 'openmoji';
const MIN_VENDORS = 5;
const SIZE = 128;
const QUALITY = 95;
const IN_FLIGHT = 8; // pictures being rendered at a time

const SUBFOLDERS = { train: 'bounding_box_train', query: 'query', gallery: 'bounding_box_test' } as const;
type Subset = keyof typeof SUBFOLDERS;

interface Icon {
  body: string;
  left?: number;
  top?: number;
  width?: number;
  height?: number;
}

interface IconSet {
  icons: Record<string, Icon>;
  width?: number;
  height?: number;
}

interface Vendor {
  name: string;
  set: IconSet;
  version: string;
  credit: string;
}

interface Picture {
  subset: Subset;
  file: string;
  svg: string;
}

type Counts = Record<Subset, { ids: number; images: number }>;

interface Manifest {
  /** Identities taken of each half, or null for all. */
  limit: number | null;
  counts: Counts;
  packages: Record<string, string>;
}

export interface PrepareEmojiOptions {
  /** Folder that holds the datasets; the set goes to `<root>/emoji-reid`. */
  root: string;
  /** Only the first so many identities to train on and to test on. */
  limit?: number;
  /** Render anew even when the folder is complete. */
  force?: boolean;
  onProgress?: (done: number, total: number) => void;
}

export interface PrepareEmojiResult {
  folder: string;
  counts: Counts;
  /** The folder was complete already. */
  skipped: boolean;
}

function loadVendors(): Vendor[] {
  const require = createRequire(import.meta.url);
  const missing: string[] = [];
  const vendors = EMOJI_VENDORS.map((name): Vendor | undefined => {
    const read = (file: string): unknown =>
      JSON.parse(readFileSync(require.resolve(`@iconify-json/${name}/${file}`), 'utf8'));
    try {
      const { version } = read('package.json') as { version: string };
      const info = read('info.json') as {
        name: string;
        author: { name: string; url?: string };
        license: { title: string; url?: string };
      };
      const { author, license } = info;
      const credit = `${info.name}, by ${author.name}${author.url ? ` (${author.url})` : ''}. ${license.title}${
        license.url ? `: ${license.url}` : ''
      }`;
      return { name, set: read('icons.json') as IconSet, version, credit };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
      missing.push(`@iconify-json/${name}`);
      return undefined;
    }
  });
  if (missing.length > 0) {
    throw new Error(
      `the emoji drawings are not installed (${missing.join(', ')} missing). They come with the development ` +
        `dependencies of reid-native's repository (npm install); elsewhere: npm install --no-save ${missing.join(' ')}`,
    );
  }
  return vendors.filter((vendor) => vendor !== undefined);
}

/** Names that at least five vendors draw, sorted; skin tones are left out, being the same picture in other paint. */
function commonNames(vendors: readonly Vendor[]): string[] {
  const drawnBy = new Map<string, number>();
  for (const { set } of vendors) {
    for (const name of Object.keys(set.icons)) drawnBy.set(name, (drawnBy.get(name) ?? 0) + 1);
  }
  return [...drawnBy]
    .filter(([name, count]) => count >= MIN_VENDORS && !name.includes('skin-tone'))
    .map(([name]) => name)
    .sort();
}

function isTrainName(name: string): boolean {
  return (createHash('sha1').update(name).digest()[0] & 1) === 0;
}

function toSvg(icon: Icon, set: IconSet): string {
  const { left = 0, top = 0, width = set.width ?? 16, height = set.height ?? 16, body } = icon;
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${SIZE}" ` +
    `height="${SIZE}" viewBox="${left} ${top} ${width} ${height}">${body}</svg>`
  );
}

/** Every picture of the set. The identity number is the name's place in the whole list, whatever the limit. */
function plan(vendors: readonly Vendor[], limit: number): { pictures: Picture[]; counts: Counts } {
  const pictures: Picture[] = [];
  const counts: Counts = { train: empty(), query: empty(), gallery: empty() };
  let trainIds = 0;
  let testIds = 0;
  commonNames(vendors).forEach((name, index) => {
    const train = isTrainName(name);
    if (train ? trainIds++ >= limit : testIds++ >= limit) return;
    const seen = new Set<Subset>();
    vendors.forEach((vendor, camera) => {
      const icon = vendor.set.icons[name];
      if (icon === undefined) return;
      const subset: Subset = train ? 'train' : vendor.name === QUERY_VENDOR ? 'query' : 'gallery';
      const file = `${String(index + 1).padStart(4, '0')}_c${camera + 1}s1_000000_00.jpg`;
      pictures.push({ subset, file, svg: toSvg(icon, vendor.set) });
      counts[subset].images++;
      seen.add(subset);
    });
    for (const subset of seen) counts[subset].ids++;
  });
  return { pictures, counts };
}

/** What the whole set holds, without rendering it. */
export function countEmoji(): Counts {
  return plan(loadVendors(), Number.POSITIVE_INFINITY).counts;
}

function empty(): { ids: number; images: number } {
  return { ids: 0, images: 0 };
}

async function render({ svg }: Picture): Promise<Buffer> {
  return sharp(Buffer.from(svg))
    .resize(SIZE, SIZE, { fit: 'fill' })
    .flatten({ background: '#ffffff' })
    .jpeg({ quality: QUALITY })
    .toBuffer();
}

async function renderAll(
  pictures: readonly Picture[],
  folder: string,
  onProgress?: PrepareEmojiOptions['onProgress'],
): Promise<void> {
  let next = 0;
  let done = 0;
  const work = async (): Promise<void> => {
    while (next < pictures.length) {
      const picture = pictures[next++];
      await writeFile(join(folder, SUBFOLDERS[picture.subset], picture.file), await render(picture));
      onProgress?.(++done, pictures.length);
    }
  };
  const stop = (error: unknown): never => {
    next = pictures.length; // the others end too, before the folder is taken away under them
    throw error;
  };
  const results = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, () => work().catch(stop)));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

/** The manifest of a complete folder: one whose subfolders hold as many pictures as it says. */
function completeManifest(folder: string): Manifest | undefined {
  const file = join(folder, 'manifest.json');
  if (!existsSync(file)) return undefined;
  try {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
    const whole = (Object.keys(SUBFOLDERS) as Subset[]).every(
      (subset) =>
        readdirSync(join(folder, SUBFOLDERS[subset])).filter((name) => name.endsWith('.jpg')).length ===
        manifest.counts[subset].images,
    );
    return whole ? manifest : undefined;
  } catch {
    return undefined; // a file that cannot be understood is as good as none: render again
  }
}

function credits(vendors: readonly Vendor[]): string {
  const lines = vendors.map(
    ({ name, version, credit }, i) => `- camera ${i + 1}, ${name} ${version}: ${credit}`,
  );
  return [
    '# Credits',
    '',
    'The pictures in this folder were rendered from the emoji drawings below, packaged by Iconify',
    '(https://iconify.design) as @iconify-json/*; each set keeps its own licence.',
    '',
    ...lines,
    '',
  ].join('\n');
}

/** Removes what killed runs left behind; folders of runs that are still alive are left alone. */
async function removeLeftovers(root: string, prefix: string): Promise<void> {
  for (const name of readdirSync(root)) {
    if (!name.startsWith(prefix)) continue;
    try {
      process.kill(Number(name.slice(prefix.length)), 0);
    } catch {
      await rm(join(root, name), { recursive: true, force: true });
    }
  }
}

/**
 * Renders the demo set into `<root>/emoji-reid`, in Market-1501's shape (see {@link EmojiReID}). The same
 * packages give the same files. The folder appears whole or not at all; a complete one is left as it is, unless
 * it holds fewer identities than asked for.
 */
export async function prepareEmoji(options: PrepareEmojiOptions): Promise<PrepareEmojiResult> {
  const { root, limit, force = false, onProgress } = options;
  if (limit !== undefined && !(Number.isInteger(limit) && limit > 0)) {
    throw new RangeError(`the limit must be a positive number of identities, got ${limit}`);
  }
  const folder = join(root, EMOJI_FOLDER);
  const found = force ? undefined : completeManifest(folder);
  if (found && (found.limit === null || (limit !== undefined && found.limit >= limit))) {
    return { folder, counts: found.counts, skipped: true };
  }
  const vendors = loadVendors();
  const { pictures, counts } = plan(vendors, limit ?? Number.POSITIVE_INFINITY);
  const packages = Object.fromEntries(vendors.map(({ name, version }) => [`@iconify-json/${name}`, version]));
  const manifest: Manifest = { limit: limit ?? null, counts, packages };

  const prefix = `.${EMOJI_FOLDER}-`;
  const temporary = join(root, `${prefix}${process.pid}`);
  await mkdir(root, { recursive: true });
  await removeLeftovers(root, prefix);
  try {
    await rm(temporary, { recursive: true, force: true });
    for (const subfolder of Object.values(SUBFOLDERS))
      await mkdir(join(temporary, subfolder), { recursive: true });
    await renderAll(pictures, temporary, onProgress);
    await writeFile(join(temporary, 'CREDITS.md'), credits(vendors));
    await writeFile(join(temporary, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return { folder, counts, skipped: false };
}
