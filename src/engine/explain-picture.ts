import { document, element, fitText, textAt } from '../charts/index.js';
import * as torch from '../torch/index.js';
import type { Explanation } from './explain.js';

type Tensor = torch.Tensor;

/** Colours from 0 to 1, RGB: dark blue, light blue, green, yellow, red. */
const STOPS = [
  [0, 0, 143],
  [0, 160, 255],
  [80, 220, 120],
  [255, 220, 0],
  [200, 0, 0],
] as const;

/** The colours of a map of values from 0 to 1 `[h, w]`: float32 `[3, h, w]`, 0 to 255. */
export function colourMap(values: Tensor): Tensor {
  return torch.scope(() => {
    const at = values.clamp(0, 1).mul(STOPS.length - 1);
    const low = at.floor().clamp_max(STOPS.length - 2);
    const share = at.sub(low).unsqueeze(0);
    const stops = torch.tensor(STOPS.map((stop) => [...stop]));
    const from = low.to(torch.int64);
    const colour = (index: Tensor): Tensor =>
      stops
        .index_select(0, index.reshape([-1]))
        .t()
        .reshape([3, ...values.shape]);
    return colour(from)
      .mul(share.neg().add(1))
      .add(colour(from.add(1)).mul(share));
  });
}

/** An RGB picture `[3, h, w]`, 0 to 255, half covered by the colours of a map `[h, w]`: uint8. */
export function drawOver(picture: Tensor, map: Tensor): Tensor {
  return torch.scope(() =>
    picture.to(torch.float32).add(colourMap(map)).div(2).round().clamp(0, 255).to(torch.uint8),
  );
}

/** A picture of a comparison, with what stands around it. */
export interface ShownPicture {
  /** uint8 `[3, h, w]` on the CPU. */
  image: Tensor;
  /** Above it, in `colour`. */
  head: string;
  colour: string;
  /** Below it. */
  lines: readonly string[];
}

export interface ExplainedMatch extends ShownPicture {
  /** Of the query and this picture. */
  explanation: Explanation;
}

const GAP = 12;
const LINE = 16;
const FRAME = 4;
/** Pictures are shown at this height, in pixels. */
const HEIGHT = 192;
/** Captions need this width even where pictures are narrower. */
const LEAST_WIDTH = 168;

/**
 * A query and its matches as columns, as SVG that needs no other file: the pictures, where each is active, and what of
 * each match, and of the query in comparison with it, raises their similarity.
 */
export async function explanationPicture(
  query: ShownPicture,
  matches: readonly ExplainedMatch[],
): Promise<string> {
  const [, height, width] = query.image.shape;
  const shown = Math.round((width * HEIGHT) / height);
  const column = Math.max(shown, LEAST_WIDTH) + 2 * FRAME + GAP;
  const left = (i: number): number => GAP + i * column + FRAME;
  const columns = [query, ...matches];
  const lines = Math.max(...columns.map((each) => each.lines.length));
  const parts: string[] = [];
  const put = async (i: number, top: number, picture: Tensor): Promise<void> => {
    const href = `data:image/png;base64,${(await encode(picture)).toString('base64')}`;
    const place = { x: left(i), y: top, width: shown, height: HEIGHT };
    parts.push(element('image', { ...place, href, preserveAspectRatio: 'none' }));
  };
  let top = GAP + LINE + FRAME;
  for (const [i, { image, head, colour, lines }] of columns.entries()) {
    parts.push(textAt(left(i), top - FRAME - 6, head, { fill: colour, 'font-weight': 'bold' }));
    const around = { width: shown + FRAME, height: HEIGHT + FRAME, fill: 'none' };
    const at = { x: left(i) - FRAME / 2, y: top - FRAME / 2 };
    parts.push(element('rect', { ...at, ...around, stroke: colour, 'stroke-width': FRAME }));
    await put(i, top, image);
    lines.forEach((line, k) => {
      const y = top + HEIGHT + FRAME + (k + 1) * LINE - 4;
      parts.push(textAt(left(i), y, fitText(line, column - GAP, 12)));
    });
  }
  top += HEIGHT + FRAME + lines * LINE;
  const activation = [matches[0].explanation.query, ...matches.map(({ explanation }) => explanation.match)];
  const rows = [
    { label: 'activation', maps: activation.map((maps) => maps.activation) },
    {
      label: 'agreement with the query',
      maps: [undefined, ...matches.map(({ explanation }) => explanation.match.contribution)],
    },
    {
      label: 'the query, in agreement with it',
      maps: [undefined, ...matches.map(({ explanation }) => explanation.query.contribution)],
      ofQuery: true,
    },
  ];
  for (const { label, maps, ofQuery } of rows) {
    top += GAP + LINE;
    for (const [i, map] of maps.entries()) {
      if (map === undefined) continue;
      parts.push(textAt(left(i), top - 5, label));
      await put(i, top, drawOver(ofQuery ? query.image : columns[i].image, map));
    }
    top += HEIGHT;
  }
  parts.push(legend(left(0), top - 2 * HEIGHT - GAP - LINE));
  return document(left(columns.length) - FRAME, top + GAP, 'Where a query and its matches agree', ...parts);
}

/** The colours, from little to much, where the query's column has no maps. */
function legend(x: number, y: number): string {
  const [width, height] = [24, 96];
  const step = height / (STOPS.length - 1);
  // Rows of one colour: gradients would need names, which must be unique in a page.
  const rows = Array.from({ length: height }, (_, i) => {
    const at = (height - 1 - i) / step;
    const low = Math.min(Math.floor(at), STOPS.length - 2);
    const colour = STOPS[low].map((from, k) => Math.round(from + (STOPS[low + 1][k] - from) * (at - low)));
    return element('rect', { x, y: y + i, width, height: 1.5, fill: `rgb(${colour.join(',')})` });
  });
  return [...rows, textAt(x + 32, y + 10, 'most'), textAt(x + 32, y + height, 'least')].join('');
}

async function encode(picture: Tensor): Promise<Buffer> {
  const { default: sharp } = await import('sharp');
  const [, height, width] = picture.shape;
  const data = torch.scope(() => picture.permute([1, 2, 0]).contiguous().toTypedArray()) as Uint8Array;
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
