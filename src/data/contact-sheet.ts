import { element, escapeText } from '../charts/svg.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

/** Pictures as a model gets them, with what is written under each. */
export interface SheetPart {
  title: string;
  /** N × 3 × H × W, values 0–255. */
  images: Tensor;
  /** One a picture, each with the lines of its label. */
  labels: readonly (readonly string[])[];
  /** One a picture: pictures of the same group get a frame of the same colour. */
  groups: readonly number[];
}

const GAP = 6;
const FRAME = 3;
const LINE = 14;
const TITLE = 26;
const LEAST_WIDTH = 92;

/** Colours far apart for numbers close together: steps of the golden angle round the colour circle. */
const colourOf = (group: number): string => `hsl(${((group * 137.508) % 360).toFixed(1)} 75% 45%)`;

/**
 * A PNG that shows batches of pictures, `columns` in a row, each in its own pixels: nothing is scaled. Labels that
 * are longer than a tile is wide are cut off.
 */
export async function contactSheet(parts: readonly SheetPart[], columns = 16): Promise<Buffer> {
  const { default: sharp } = await import('sharp');
  const sizes = parts.map(({ images }) => images.shape.slice(2));
  const tileWidth = Math.max(LEAST_WIDTH, ...sizes.map(([, width]) => width)) + 2 * FRAME;
  const lines = Math.max(0, ...parts.flatMap(({ labels }) => labels.map((label) => label.length)));
  const most = Math.max(1, ...parts.map(({ images }) => images.shape[0]));
  const across = Math.min(columns, most);
  const width = GAP + across * (tileWidth + GAP);
  const pictures: {
    input: Buffer;
    raw: { width: number; height: number; channels: 3 };
    left: number;
    top: number;
  }[] = [];
  const marks: string[] = [];
  let y = GAP;
  for (const { title, images, labels, groups } of parts) {
    const [n, , h, w] = images.shape;
    const bytes = torch.scope(() => {
      const planes = images.to('cpu').clamp(0, 255).round().to(torch.uint8);
      return Buffer.from(planes.permute([0, 2, 3, 1]).contiguous().toTypedArray() as Uint8Array);
    });
    marks.push(element('text', { x: GAP, y: y + 15, class: 'title' }, escapeText(title)));
    y += TITLE;
    const tileHeight = h + 2 * FRAME + lines * LINE + GAP;
    for (let i = 0; i < n; i++) {
      const left = GAP + (i % across) * (tileWidth + GAP) + FRAME;
      const top = y + Math.floor(i / across) * (tileHeight + GAP) + FRAME;
      const input = bytes.subarray(i * h * w * 3, (i + 1) * h * w * 3);
      pictures.push({ input, raw: { width: w, height: h, channels: 3 }, left, top });
      const frame = { x: left - FRAME / 2, y: top - FRAME / 2, width: w + FRAME, height: h + FRAME };
      marks.push(
        element('rect', { ...frame, fill: 'none', stroke: colourOf(groups[i]), 'stroke-width': FRAME }),
      );
      for (const [k, line] of labels[i].entries()) {
        const letters = Math.floor(tileWidth / 6.2);
        const text = line.length > letters ? `${line.slice(0, letters - 1)}…` : line;
        marks.push(
          element('text', { x: left - FRAME, y: top + h + FRAME + 11 + k * LINE }, escapeText(text)),
        );
      }
    }
    y += Math.ceil(n / across) * (tileHeight + GAP);
  }
  const style = element(
    'style',
    {},
    'text { font: 10px "DejaVu Sans Mono", monospace } .title { font-size: 13px }',
  );
  const size = { width, height: y };
  const svg = element('svg', { xmlns: 'http://www.w3.org/2000/svg', ...size }, style, ...marks);
  return sharp({ create: { ...size, channels: 3, background: '#ffffff' } })
    .composite([...pictures, { input: Buffer.from(svg), left: 0, top: 0 }])
    .png()
    .toBuffer();
}
