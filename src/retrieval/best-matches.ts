import type { Label } from '../data/labels.js';
import { normalize } from '../evaluation/distance.js';
import * as torch from '../torch/index.js';

/** A query and what it is looked up in; the first of each is the query's. */
export interface QueryAndGallery {
  /** Float32 [1 + gallery, dim] on the CPU. */
  features: torch.Tensor;
  /** Undefined where it is not known which images are right. */
  identities?: readonly (Label | undefined)[] | undefined;
  /** Each undefined where not known. */
  cameras: readonly (Label | undefined)[];
}

export interface Match {
  /** Row of the features. */
  row: number;
  /** `1 − cos`. */
  distance: number;
  /** Place among the gallery images that count, from 1. */
  rank: number;
  /** Whether it has the query's identity; undefined where identities are not known. */
  right: boolean | undefined;
}

/**
 * The gallery images nearest to a query: with identities the `top` best right ones and behind them the `top` best
 * wrong ones, else the `top` best. Images of the query's identity by its own camera do not count, nor do those that
 * could not be read, whose features are NaN.
 */
export function bestMatches({ features, identities, cameras }: QueryAndGallery, top = 1): Match[] {
  const distances = torch.scope(() => {
    const unit = normalize(features);
    return unit.mv(unit.select(0, 0)).neg().add(1).toTypedArray() as Float32Array;
  });
  const isRight = (row: number): boolean | undefined => identities && identities[row] === identities[0];
  const ranked = Array.from(distances, (distance, row) => ({ row, distance, right: isRight(row) }))
    .filter(
      ({ row, right, distance }) =>
        row > 0 &&
        !Number.isNaN(distance) &&
        !(right && cameras[0] !== undefined && cameras[row] === cameras[0]),
    )
    .sort((a, b) => a.distance - b.distance)
    .map((match, i): Match => ({ ...match, rank: i + 1 }));
  if (identities === undefined) return ranked.slice(0, top);
  return [true, false].flatMap((wanted) => ranked.filter(({ right }) => right === wanted).slice(0, top));
}
