import { document, element, textAt } from '../charts/index.js';
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

export interface ExplainedPair {
  /** uint8 `[2, 3, h, w]` on the CPU. */
  images: Tensor;
  explanation: Explanation;
  /** Name below the match. */
  name: string;
}

const GAP = 12;
const LINE = 18;
/** Pictures are shown at this height, in pixels. */
const HEIGHT = 192;

/**
 * One row for each pair, as SVG that needs no other file: query and match, each as it is, with its activation, and with
 * what of it raises the similarity.
 */
export async function explanationPicture(query: string, pairs: readonly ExplainedPair[]): Promise<string> {
  const [, , height, width] = pairs[0].images.shape;
  const shown = Math.round((width * HEIGHT) / height);
  const across = [0, 1, 2, 3, 4, 5].map((i) => GAP + i * (shown + GAP) + (i > 2 ? GAP : 0));
  const heads = ['query', 'activation', 'agreement', 'match', 'activation', 'agreement'];
  const parts = heads.map((head, i) => textAt(across[i], GAP + LINE - 4, head));
  let top = GAP + LINE;
  for (const { images, explanation, name } of pairs) {
    const { similarity } = explanation;
    for (const [k, maps] of [explanation.query, explanation.match].entries()) {
      const picture = images.select(0, k);
      const cells = [picture, drawOver(picture, maps.activation), drawOver(picture, maps.contribution)];
      for (const [i, cell] of cells.entries()) {
        const href = `data:image/png;base64,${(await encode(cell)).toString('base64')}`;
        const place = { x: across[3 * k + i], y: top, width: shown, height: HEIGHT };
        parts.push(element('image', { ...place, href, preserveAspectRatio: 'none' }));
      }
    }
    top += HEIGHT + LINE;
    parts.push(textAt(across[0], top - 4, query));
    parts.push(textAt(across[3], top - 4, `${name}, similarity ${similarity.toFixed(4)}`));
    top += GAP;
  }
  return document(across[5] + shown + GAP, top, `Where ${query} and its matches agree`, ...parts);
}

async function encode(picture: Tensor): Promise<Buffer> {
  const { default: sharp } = await import('sharp');
  const [, height, width] = picture.shape;
  const data = torch.scope(() => picture.permute([1, 2, 0]).contiguous().toTypedArray()) as Uint8Array;
  return sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}
