import { Registry } from '../../registry.js';
import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** Aggregates a feature map `[N, C, H, W]` into `[N, C', 1, 1]`. */
export type PoolLayer = new () => torch.nn.Module;

/** Names that `MODEL.HEADS.POOL_LAYER` may use. */
export const POOLING_REGISTRY = new Registry<PoolLayer>('pooling layer');

/** For backbones that pool by themselves and return `[N, C, 1, 1]`. */
export class Identity extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    return x;
  }
}

/** `[N, C, H, W]` to `[N, C·H·W, 1, 1]`. */
export class Flatten extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    return x.reshape([x.shape[0], -1, 1, 1]);
  }
}

export class GlobalAvgPool extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    return torch.adaptive_avg_pool2d(x, [1, 1]);
  }
}

export class GlobalMaxPool extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    return torch.adaptive_max_pool2d(x, [1, 1])[0];
  }
}

/** Mean over the flattened positions: the same value as GlobalAvgPool, by another operator. */
export class FastGlobalAvgPool extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    const [n, c] = x.shape;
    return x.view([n, c, -1]).mean([-1]).view([n, c, 1, 1]);
  }
}

/** Sum of the mean and the maximum. */
export class AdaptiveAvgMaxPool extends torch.nn.Module {
  readonly gap = new FastGlobalAvgPool();
  readonly gmp = new GlobalMaxPool();

  protected override forward(x: Tensor): Tensor {
    return this.gap.call(x).add(this.gmp.call(x));
  }
}

/** Mean, cut to [0, 1]. */
export class ClipGlobalAvgPool extends torch.nn.Module {
  readonly avgpool = new FastGlobalAvgPool();

  protected override forward(x: Tensor): Tensor {
    return this.avgpool.call(x).clamp(0, 1);
  }
}

const GEM_EXPONENT = 3;
const GEM_FLOOR = 1e-6;

/** Generalised mean (GeM) with exponent 3: (mean of x^p)^(1/p), x at least 1e-6. */
export class GeneralizedMeanPooling extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    const powers = x.clamp_min(GEM_FLOOR).pow(GEM_EXPONENT);
    return torch.adaptive_avg_pool2d(powers, [1, 1]).pow(1 / GEM_EXPONENT);
  }
}

/** Generalised mean whose exponent `p` (one number, starting at 3) is learned. */
export class GeneralizedMeanPoolingP extends torch.nn.Module {
  readonly p = new torch.nn.Parameter(torch.full([1], GEM_EXPONENT, { dtype: torch.float32 }));

  protected override forward(x: Tensor): Tensor {
    const powers = x.clamp_min(GEM_FLOOR).pow(this.p);
    return torch.adaptive_avg_pool2d(powers, [1, 1]).pow(this.p.reciprocal());
  }
}

POOLING_REGISTRY.register('Identity', Identity);
POOLING_REGISTRY.register('Flatten', Flatten);
POOLING_REGISTRY.register('GlobalAvgPool', GlobalAvgPool);
POOLING_REGISTRY.register('GlobalMaxPool', GlobalMaxPool);
POOLING_REGISTRY.register('GeneralizedMeanPooling', GeneralizedMeanPooling);
POOLING_REGISTRY.register('GeneralizedMeanPoolingP', GeneralizedMeanPoolingP);
POOLING_REGISTRY.register('FastGlobalAvgPool', FastGlobalAvgPool);
POOLING_REGISTRY.register('AdaptiveAvgMaxPool', AdaptiveAvgMaxPool);
POOLING_REGISTRY.register('ClipGlobalAvgPool', ClipGlobalAvgPool);
