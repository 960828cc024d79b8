import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';
import { DEFAULT_BUDGET, normalize } from './distance.js';
import { nearestRows } from './neighbours.js';
import { checkQueryExpansion } from './options.js';

export interface QueryExpansionOptions {
  /** How often (TEST.AQE.QE_TIME). Default 1. */
  times?: number;
  /** Images whose features are combined, the image itself among them (TEST.AQE.QE_K). Default 5. */
  k?: number;
  /** Power of the cosine similarity that weighs them (TEST.AQE.ALPHA). Default 3. */
  alpha?: number;
  /** MiB that may be taken beside the features. */
  budget?: number;
  /** Negative similarities are not raised to 0, as in FastReID: features become NaN where `alpha` is no integer. */
  keepNegative?: boolean;
}

/**
 * Average query expansion with weights (α-QE; Chum et al., ICCV 2007; Radenović et al., PAMI 2018, section 3.2):
 * the feature of each image becomes the mean of its `k` nearest ones' features, itself included, each times its
 * cosine similarity to the power of `alpha`. Similarities below 0 count as 0.
 *
 * @param features [n, dim] float32 of queries and gallery together; they stay
 * @returns new features [n, dim], not normalised
 * @throws RangeError that names the key of a number that cannot be
 */
export function expandFeatures(features: Tensor, options: QueryExpansionOptions = {}): Tensor {
  checkQueryExpansion(options);
  const { times = 1 } = options;
  return torch.noGrad(() =>
    torch.scope(() => {
      let now = features;
      for (let i = 0; i < times; i++) {
        const next = expandOnce(now, options);
        if (now !== features) now.dispose();
        now = next;
      }
      return now;
    }),
  );
}

function expandOnce(
  features: Tensor,
  { k = 5, alpha = 3, budget = DEFAULT_BUDGET, keepNegative = false }: QueryExpansionOptions,
): Tensor {
  const [n, dim] = features.shape;
  const unit = normalize(features);
  const near = nearestRows(unit, unit, k, 'cosine', { budget, normalized: true });
  unit.dispose();
  const weights = Float32Array.from(
    near.distances,
    (d) => (keepNegative ? 1 - d : Math.max(0, 1 - d)) ** alpha,
  );
  const out = torch.empty([n, dim], { device: features.device });
  // Three copies of the rows that are combined.
  const rows = Math.max(1, Math.min(n, Math.floor((budget * 2 ** 20) / (3 * 4 * near.k * dim))));
  for (let from = 0; from < n; from += rows) {
    torch.scope(() => {
      const count = Math.min(rows, n - from);
      const slice = <T extends Int32Array | Float32Array>(a: T): T =>
        a.subarray(from * near.k, (from + count) * near.k) as T;
      const chosen = features
        .index_select(0, torch.tensor(slice(near.indices), { device: features.device }))
        .view([count, near.k, dim]);
      const w = torch.tensor(slice(weights), { device: features.device }).view([count, 1, near.k]);
      out.narrow(0, from, count).copy_(w.bmm(chosen).squeeze(1).div_(near.k));
    });
  }
  return out;
}
