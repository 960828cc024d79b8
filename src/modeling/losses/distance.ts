import * as torch from '../../torch/index.js';
import { normalize } from '../layers/normalize.js';

type Tensor = torch.Tensor;

/** Euclidean distances `[N, M]` between the rows of `x` `[N, D]` and `y` `[M, D]`; at least 1e-6. */
export function euclideanDistances(x: Tensor, y: Tensor): Tensor {
  const [n] = x.shape;
  const [m] = y.shape;
  const xx = x.pow(2).sum([1], true).expand([n, m]);
  const yy = y.pow(2).sum([1], true).expand([m, n]).t();
  // The floor keeps the square root's slope finite at coinciding rows.
  return xx.add(yy).sub(x.matmul(y.t()).mul(2)).clamp_min(1e-12).sqrt();
}

/** Squared Euclidean distances `[N, M]`, 0 to 4, between the rows after scaling each to length 1. */
export function cosineDistances(x: Tensor, y: Tensor): Tensor {
  const a = normalize(x);
  const b = normalize(y);
  return torch.rsub(a.mm(b.t()).mul(2), 2);
}

/** For int64 targets `[N]`: float masks `[N, N]`, 1 where two samples have the same, or another, identity. */
export function identityMasks(targets: Tensor): { same: Tensor; other: Tensor } {
  const [n] = targets.shape;
  const rows = targets.view([n, 1]).expand([n, n]);
  return { same: rows.eq(rows.t()).to(torch.float32), other: rows.ne(rows.t()).to(torch.float32) };
}
