import type { OverlayOptions, Sharp } from 'sharp';
import { document, element, fitText, textAt } from '../charts/index.js';
import { readImage } from '../data/index.js';
import * as torch from '../torch/index.js';

/** An image in a row of images. */
export interface Tile {
  path: string;
  /** What stands below it. */
  lines: readonly string[];
  /** Decides the colour of its frame. Default: of no known verdict. */
  verdict?: Verdict;
}

export type Verdict = 'query' | 'right' | 'wrong';

export const VERDICT_COLOURS: Readonly<Record<Verdict | 'unknown', string>> = {
  query: '#0072b2',
  right: '#1a9641',
  wrong: '#d7191c',
  unknown: '#bbbbbb',
};

const HEIGHT = 160;
const FRAME = 4;
const GAP = 8;
const LINE = 16;
const TITLE = 28;

/** A picture, upright; what sharp does not read, as Windows bitmaps, comes from the decoder of the data sets. */
async function openPicture(path: string): Promise<Sharp> {
  const { default: sharp } = await import('sharp');
  try {
    await sharp(path).metadata();
    return sharp(path).autoOrient();
  } catch {
    const picture = await readImage(path);
    const [channels, height, width] = picture.shape;
    const pixels = torch.scope(() => picture.permute([1, 2, 0]).contiguous().toTypedArray()) as Uint8Array;
    picture.dispose();
    return sharp(pixels, { raw: { width, height, channels: channels as 3 } });
  }
}

/** Pixels of a picture in a row: those of the first picture's shape, within limits. */
export async function tileSize(path: string): Promise<{ width: number; height: number }> {
  try {
    const { width, height } = (await (await openPicture(path)).metadata()).autoOrient;
    const wide = Math.round((HEIGHT * width) / height);
    return { width: Math.min(240, Math.max(80, wide)), height: HEIGHT };
  } catch {
    return { width: 100, height: HEIGHT };
  }
}

/**
 * A picture at this size, whole, on white where its shape is another, as a JPEG file's bytes; undefined when it cannot
 * be read, since one lost file should not cost the view of all others.
 */
export async function thumbnail(path: string, width: number, height: number): Promise<Buffer | undefined> {
  try {
    const picture = await openPicture(path);
    return await picture
      .flatten({ background: '#ffffff' })
      .toColourspace('srgb')
      .resize(width, height, { fit: 'contain', background: '#ffffff' })
      .jpeg({ quality: 85 })
      .toBuffer();
  } catch {
    return undefined;
  }
}

/** Draws images in a row, each in a frame of its verdict's colour with its lines below, as a PNG file's bytes. */
export async function drawTiles(title: string, tiles: readonly Tile[]): Promise<Buffer> {
  if (tiles.length === 0) throw new Error('drawTiles: there are no images');
  const { default: sharp } = await import('sharp');
  const { width, height } = await tileSize(tiles[0].path);
  const lines = Math.max(...tiles.map((tile) => tile.lines.length));
  const [cellWidth, imageTop] = [width + 2 * FRAME + GAP, TITLE + FRAME];
  const total = {
    width: tiles.length * cellWidth + GAP,
    height: imageTop + height + FRAME + lines * LINE + GAP,
  };
  const pictures = await Promise.all(tiles.map(({ path }) => thumbnail(path, width, height)));
  const layers: OverlayOptions[] = [];
  const marks = tiles.flatMap(({ lines, verdict }, i) => {
    const left = GAP + i * cellWidth + FRAME;
    const input = pictures[i];
    if (input) layers.push({ input, left, top: imageTop });
    const frame = element('rect', {
      ...{ x: left - FRAME / 2, y: imageTop - FRAME / 2, width: width + FRAME, height: height + FRAME },
      ...{ fill: '#eeeeee', stroke: VERDICT_COLOURS[verdict ?? 'unknown'], 'stroke-width': FRAME },
    });
    const lost = input
      ? []
      : [textAt(left + 4, imageTop + height / 2, 'cannot be read', { fill: '#666666' })];
    const captions = lines.map((line, j) =>
      textAt(left, imageTop + height + FRAME + (j + 1) * LINE - 3, fitText(line, width, 12)),
    );
    return [frame, ...lost, ...captions];
  });
  const head = textAt(GAP, 18, fitText(title, total.width - 2 * GAP, 14), {
    'font-size': 14,
    'font-weight': 'bold',
  });
  const svg = document(total.width, total.height, title, head, ...marks);
  return sharp(Buffer.from(svg)).composite(layers).png().toBuffer();
}
