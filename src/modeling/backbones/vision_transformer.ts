import * as torch from '../../torch/index.js';
import { dropPathRates } from '../layers/drop_path.js';
import { PatchEmbed, type Size } from '../layers/patch_embed.js';
import { type PositionResize, resizePositions } from '../layers/position_embedding.js';
import { TransformerBlock } from '../layers/transformer_block.js';
import { CameraBackbone, sideInformation } from './cameras.js';

type Tensor = torch.Tensor;

export interface VisionTransformerOptions {
  /** Images it is built for; the position embedding is resized for those of another size. */
  imageSize: Size;
  /** Height and width of a patch, in pixels. */
  patchSize: number;
  /** From one patch to the next, in pixels; less than `patchSize` makes patches overlap. */
  stride: Size;
  /** Width of the tokens. */
  dim: number;
  /** Number of blocks. */
  depth: number;
  heads: number;
  /** Width of the hidden layer of an MLP, in multiples of `dim`. */
  mlpRatio: number;
  qkvBias?: boolean;
  /** Factor on the products of queries and keys (default 1 / √(dim / heads)). */
  attentionScale?: number;
  activation?: 'gelu' | 'quick_gelu';
  normEps?: number;
  /** First value of the learned factors on each residual branch; without it, there are none. */
  layerScale?: number;
  /** Tokens that belong to no patch and are not returned (Darcet et al. 2024). */
  registerTokens?: number;
  /** Normalisation before the first block, and patches without a bias (Radford et al. 2021). */
  preNorm?: boolean;
  /** Width of a linear layer after the last normalisation; 0 for none. */
  projection?: number;
  /** Probability of dropout on tokens. */
  drop?: number;
  /** Probability of dropout on attention weights. */
  attentionDrop?: number;
  /** Probability of leaving out a branch of the last block for a sample; falls evenly to 0 at the first. */
  dropPath?: number;
  /** Number of cameras that have an embedding; 0 for no side information. */
  cameras?: number;
  /** Factor on the cameras' embedding. */
  cameraWeight?: number;
  /** What is returned: the class token, or the map of the patches' tokens. */
  output?: 'cls' | 'patch';
  /** How positions are resized. */
  resize: PositionResize;
  /** See AttentionOptions. */
  fusedAttention?: boolean;
}

/**
 * Vision transformer (Dosovitskiy et al. 2021) in the variants of FastReID, DINOv2, timm and CLIP: images
 * `[N, 3, H, W]` and, with `cameras`, int64 `[N]`, to `[N, C, 1, 1]`, or with `output: 'patch'` to a map
 * `[N, C, h, w]`; C is `dim`, or `projection` where there is one.
 *
 * Every token gets the embedding of its position and, in the manner of TransReID (He et al. 2021), that of its
 * camera. With register tokens, the class token has no position.
 */
export class VisionTransformer extends CameraBackbone {
  // Field names are those of the state dict and their order is its order.
  /** `[1, 1, dim]` */
  readonly cls_token: torch.nn.Parameter;
  /** `[1, registerTokens, dim]` */
  readonly reg_token: torch.nn.Parameter | undefined;
  /** `[1, 1 + patches, dim]`, or `[1, patches, dim]` with register tokens. */
  readonly pos_embed: torch.nn.Parameter;
  /** `[cameras, 1, dim]` */
  readonly sie_embed: torch.nn.Parameter | undefined;
  readonly patch_embed: PatchEmbed;
  readonly pos_drop: torch.nn.Dropout;
  readonly norm_pre: torch.nn.LayerNorm | undefined;
  readonly blocks: torch.nn.Sequential;
  readonly norm: torch.nn.LayerNorm;
  readonly head: torch.nn.Linear | undefined;
  /** Rows and columns of patches that `pos_embed` is for. */
  readonly grid: Size;
  /** Tokens in front of the patches that have a position. */
  readonly positionPrefix: number;
  readonly resize: PositionResize;
  readonly #output: 'cls' | 'patch';
  readonly #cameraWeight: number;

  /** @param initPatches called when the patch embedding has been made and nothing else: draws its first values */
  constructor(options: VisionTransformerOptions, initPatches?: (embed: PatchEmbed) => void) {
    super();
    const { patchSize, stride, dim, preNorm = false, normEps = 1e-6 } = options;
    const { registerTokens = 0, cameras = 0, projection = 0 } = options;
    const zeros = (...shape: number[]) =>
      new torch.nn.Parameter(torch.zeros(shape, { dtype: torch.float32 }));
    this.resize = options.resize;
    this.#output = options.output ?? 'cls';
    this.#cameraWeight = options.cameraWeight ?? 1;
    const patchEmbed = new PatchEmbed({ patchSize, stride, dim, bias: !preNorm });
    initPatches?.(patchEmbed);
    this.grid = patchEmbed.gridOf(options.imageSize);
    this.positionPrefix = registerTokens > 0 ? 0 : 1;
    this.cls_token = zeros(1, 1, dim);
    if (registerTokens > 0) this.reg_token = zeros(1, registerTokens, dim);
    this.pos_embed = zeros(1, this.positionPrefix + this.grid[0] * this.grid[1], dim);
    if (cameras > 0) this.sie_embed = zeros(cameras, 1, dim);
    this.patch_embed = patchEmbed;
    this.pos_drop = new torch.nn.Dropout(options.drop ?? 0);
    if (preNorm) this.norm_pre = new torch.nn.LayerNorm(dim, { eps: normEps });
    this.blocks = makeBlocks(options, normEps);
    this.norm = new torch.nn.LayerNorm(dim, { eps: normEps });
    if (projection > 0) this.head = new torch.nn.Linear(dim, projection);
  }

  protected override forward(images: Tensor, camids?: Tensor): Tensor {
    const [rows, columns] = this.patch_embed.gridOf([images.shape[2], images.shape[3]]);
    const tokens = torch.scope(() => this.norm.call(this.#encode(images, [rows, columns], camids)));
    if (this.#output === 'cls') {
      const first = this.#project(tokens.select(1, 0));
      return first.reshape([first.shape[0], -1, 1, 1]);
    }
    const patches = rows * columns;
    const map = this.#project(tokens.narrow(1, tokens.shape[1] - patches, patches)).transpose(1, 2);
    // Contiguous, since pooling layers may look at a map in another shape.
    return map.contiguous().view([map.shape[0], -1, rows, columns]);
  }

  #project(tokens: Tensor): Tensor {
    return this.head === undefined ? tokens : this.head.call(tokens);
  }

  /** All tokens after the last block. Those before a block are let go as soon as it is done, as in `Sequential`. */
  #encode(images: Tensor, grid: Size, camids: Tensor | undefined): Tensor {
    let run = (): Tensor => this.#embed(images, grid, camids);
    for (const block of this.blocks) {
      const before = run;
      run = () => torch.scope(() => block.call(before()));
    }
    return run();
  }

  /** What the first block sees: `[N, tokens, dim]`. */
  #embed(images: Tensor, grid: Size, camids: Tensor | undefined): Tensor {
    return torch.scope(() => {
      const positions = resizePositions(this.pos_embed, {
        prefix: this.positionPrefix,
        from: this.grid,
        to: grid,
        resize: this.resize,
      });
      const patches = this.patch_embed.call(images).flatten(2).transpose(1, 2);
      let x =
        this.reg_token === undefined
          ? this.#withPrefix(patches).add(positions)
          : this.#withPrefix(patches.add(positions));
      if (this.sie_embed !== undefined) {
        x = x.add(sideInformation(this.sie_embed, camids, this.training).mul(this.#cameraWeight));
      }
      x = this.pos_drop.call(x);
      return this.norm_pre === undefined ? x : this.norm_pre.call(x);
    });
  }

  #withPrefix(patches: Tensor): Tensor {
    const prefix = [this.cls_token, this.reg_token].filter((token) => token !== undefined);
    return torch.cat([...prefix.map((token) => token.expand([patches.shape[0], -1, -1])), patches], 1);
  }
}

function makeBlocks(options: VisionTransformerOptions, normEps: number): torch.nn.Sequential {
  const rates = dropPathRates(options.dropPath ?? 0, options.depth);
  return new torch.nn.Sequential(
    ...rates.map(
      (dropPath) =>
        new TransformerBlock({
          ...options,
          normEps,
          dropPath,
          scale: options.attentionScale,
          fused: options.fusedAttention,
        }),
    ),
  );
}
