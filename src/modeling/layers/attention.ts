import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface AttentionOptions {
  dim: number;
  heads: number;
  qkvBias?: boolean;
  /** Factor on the products of queries and keys (default 1 / √(dim / heads)). */
  scale?: number;
  /** Probability of dropout on the attention weights. */
  attentionDrop?: number;
  /** Probability of dropout on the result. */
  drop?: number;
  /**
   * One fused operator instead of products and a softmax: results agree to 1e-6, and the weights `[N, heads, T, T]`
   * are never stored. Off, every operator is that of the models whose numbers have to be met.
   */
  fused?: boolean;
}

/** Multi-head self-attention (Vaswani et al. 2017): tokens `[N, T, dim]` to `[N, T, dim]`. */
export class Attention extends torch.nn.Module {
  // Field names are those of the state dict.
  readonly qkv: torch.nn.Linear;
  readonly attn_drop: torch.nn.Dropout;
  readonly proj: torch.nn.Linear;
  readonly proj_drop: torch.nn.Dropout;
  readonly #heads: number;
  readonly #scale: number;
  readonly #fused: boolean;

  constructor({ dim, heads, qkvBias = true, scale, ...options }: AttentionOptions) {
    super();
    if (dim % heads !== 0) throw new Error(`Attention: ${dim} channels cannot be parted into ${heads} heads`);
    this.#heads = heads;
    this.#scale = scale ?? (dim / heads) ** -0.5;
    this.#fused = options.fused ?? false;
    this.qkv = new torch.nn.Linear(dim, 3 * dim, { bias: qkvBias });
    this.attn_drop = new torch.nn.Dropout(options.attentionDrop ?? 0);
    this.proj = new torch.nn.Linear(dim, dim);
    this.proj_drop = new torch.nn.Dropout(options.drop ?? 0);
  }

  protected override forward(x: Tensor): Tensor {
    const [batch, tokens, dim] = x.shape;
    const parts = this.qkv.call(x).reshape([batch, tokens, 3, this.#heads, dim / this.#heads]);
    const [queries, keys, values] = parts.permute([2, 0, 3, 1, 4]).unbind(0);
    const mixed = this.#fused
      ? this.#mixFused(queries, keys, values)
      : this.#weights(queries, keys).matmul(values);
    return this.proj_drop.call(this.proj.call(mixed.transpose(1, 2).reshape([batch, tokens, dim])));
  }

  #weights(queries: Tensor, keys: Tensor): Tensor {
    return torch.scope(() => {
      const products = queries.matmul(keys.transpose(-2, -1)).mul_(this.#scale);
      return this.attn_drop.call(products.softmax(-1));
    });
  }

  #mixFused(queries: Tensor, keys: Tensor, values: Tensor): Tensor {
    const dropout = this.training ? this.attn_drop.p : 0;
    return torch.scaled_dot_product_attention(queries, keys, values, null, dropout, false, {
      scale: this.#scale,
    });
  }
}
