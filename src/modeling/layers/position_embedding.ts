import * as torch from '../../torch/index.js';
import type { Size } from './patch_embed.js';

type Tensor = torch.Tensor;

/** `bilinear` as FastReID resizes position embeddings, `bicubic` (with antialiasing) as timm does. */
export type PositionResize = 'bilinear' | 'bicubic';

export interface PositionGrids {
  /** Tokens in front of the patches that have a position of their own. */
  prefix: number;
  /** Rows and columns of patches that the embedding has. */
  from: Size;
  /** Rows and columns wanted. */
  to: Size;
  resize: PositionResize;
}

/**
 * A position embedding `[1, prefix + h·w, dim]` for another grid of patches; those of the prefix stay. The same tensor
 * when the grids are equal. Differentiable.
 */
export function resizePositions(positions: Tensor, { prefix, from, to, resize }: PositionGrids): Tensor {
  if (from[0] === to[0] && from[1] === to[1]) return positions;
  return torch.scope(() => {
    const dim = positions.shape[2];
    const patches = positions.narrow(1, prefix, positions.shape[1] - prefix);
    const map = patches
      .reshape([1, ...from, dim])
      .permute([0, 3, 1, 2])
      .float();
    const resized =
      resize === 'bicubic'
        ? torch._upsample_bicubic2d_aa(map, [...to], false, null)
        : torch.upsample_bilinear2d(map, [...to], false, null);
    const back = resized
      .permute([0, 2, 3, 1])
      .reshape([1, to[0] * to[1], dim])
      .to(positions.dtype);
    return prefix === 0 ? back : torch.cat([positions.narrow(1, 0, prefix), back], 1);
  });
}

/**
 * Rows and columns of an embedding of `count` patches whose grid is not known: a square if it can be, as published
 * weights have; otherwise, as after training on images of another size, the shape nearest to that of `like`.
 */
export function guessGrid(count: number, like: Size): Size {
  const side = Math.round(Math.sqrt(count));
  if (side * side === count) return [side, side];
  const wanted = Math.log(like[0] / like[1]);
  let best: Size = [count, 1];
  for (let rows = 1; rows <= count; rows++) {
    if (count % rows !== 0) continue;
    const grid: Size = [rows, count / rows];
    const distance = ([h, w]: Size): number => Math.abs(Math.log(h / w) - wanted);
    if (distance(grid) < distance(best)) best = grid;
  }
  return best;
}
