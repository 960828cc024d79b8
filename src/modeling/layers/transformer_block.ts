import * as torch from '../../torch/index.js';
import { Attention, type AttentionOptions } from './attention.js';
import { DropPath } from './drop_path.js';
import { LayerScale } from './layer_scale.js';
import { Mlp, type MlpOptions } from './mlp.js';

type Tensor = torch.Tensor;

export interface TransformerBlockOptions extends AttentionOptions, Pick<MlpOptions, 'activation'> {
  /** Width of the hidden layer of the MLP, in multiples of `dim`. */
  mlpRatio: number;
  normEps: number;
  /** Probability of leaving out a branch for a sample. */
  dropPath?: number;
  /** First value of the factors on each branch; without it, there are none. */
  layerScale?: number;
}

/** Self-attention, then an MLP, each on normalised input and added to it: `[N, T, dim]` to `[N, T, dim]`. */
export class TransformerBlock extends torch.nn.Module {
  // Field names are those of the state dict.
  readonly norm1: torch.nn.LayerNorm;
  readonly attn: Attention;
  readonly ls1: LayerScale | undefined;
  readonly norm2: torch.nn.LayerNorm;
  readonly mlp: Mlp;
  readonly ls2: LayerScale | undefined;
  readonly drop_path: DropPath;

  constructor(options: TransformerBlockOptions) {
    super();
    const { dim, mlpRatio, normEps: eps, activation, drop, layerScale } = options;
    const factors = () => (layerScale === undefined ? undefined : new LayerScale(dim, layerScale));
    this.norm1 = new torch.nn.LayerNorm(dim, { eps });
    this.attn = new Attention(options);
    this.ls1 = factors();
    this.norm2 = new torch.nn.LayerNorm(dim, { eps });
    this.mlp = new Mlp({ dim, hiddenDim: Math.floor(dim * mlpRatio), activation, drop });
    this.ls2 = factors();
    this.drop_path = new DropPath(options.dropPath);
  }

  protected override forward(x: Tensor): Tensor {
    const attended = torch.scope(() => x.add(this.#branch(this.attn.call(this.norm1.call(x)), this.ls1)));
    return attended.add(this.#branch(this.mlp.call(this.norm2.call(attended)), this.ls2));
  }

  #branch(y: Tensor, factors: LayerScale | undefined): Tensor {
    return this.drop_path.call(factors === undefined ? y : factors.call(y));
  }
}
