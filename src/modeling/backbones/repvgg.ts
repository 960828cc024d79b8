import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import type { Deployable } from '../deploy.js';
import { getNorm } from '../layers/norm.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained } from './pretrained.js';

type Tensor = torch.Tensor;

// In the classes below, field names are those of the state dict and their order is its order.

/** Convolution without bias, and normalisation. */
class ConvNorm extends torch.nn.Module {
  readonly conv: torch.nn.Conv2d;
  readonly bn: torch.nn.Module;

  constructor(conv: torch.nn.Conv2d, norm: string, channels: number) {
    super();
    this.conv = conv;
    this.bn = getNorm(norm, channels);
  }

  protected override forward(x: Tensor): Tensor {
    return this.bn.call(this.conv.call(x));
  }
}

/** The branches of a block in training; the deploy form has none. */
interface Branches {
  identity: torch.nn.Module | undefined;
  dense: ConvNorm;
  pointwise: ConvNorm;
}

export interface RepVGGBlockOptions {
  stride: number;
  groups: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/**
 * In training a 3×3 convolution, a 1×1 convolution and, where shapes allow, the identity, each normalised, added up;
 * as deployed one 3×3 convolution with bias, `rbr_reparam`. ReLU follows.
 */
export class RepVGGBlock extends torch.nn.Module implements Deployable {
  rbr_identity: torch.nn.Module | undefined;
  rbr_dense: ConvNorm | undefined;
  rbr_1x1: ConvNorm | undefined;
  rbr_reparam: torch.nn.Conv2d | undefined;

  constructor(inChannels: number, outChannels: number, { stride, groups, norm }: RepVGGBlockOptions) {
    super();
    const conv = (kernel: number) =>
      new torch.nn.Conv2d(inChannels, outChannels, kernel, {
        stride,
        padding: Math.floor(kernel / 2),
        groups,
        bias: false,
      });
    if (inChannels === outChannels && stride === 1) this.rbr_identity = getNorm(norm, inChannels);
    this.rbr_dense = new ConvNorm(conv(3), norm, outChannels);
    this.rbr_1x1 = new ConvNorm(conv(1), norm, outChannels);
  }

  protected override forward(x: Tensor): Tensor {
    if (this.rbr_reparam !== undefined) return this.rbr_reparam.call(x).relu_();
    const { identity, dense, pointwise } = this.#branches();
    // The order of the calls is the order in which the branches' gradients add up.
    const unchanged = identity?.call(x);
    const out = dense.call(x).add_(pointwise.call(x));
    return (unchanged === undefined ? out : out.add_(unchanged)).relu_();
  }

  #branches(): Branches {
    const { rbr_identity: identity, rbr_dense: dense, rbr_1x1: pointwise } = this;
    if (dense === undefined || pointwise === undefined) throw new Error('RepVGGBlock: the block is deployed');
    return { identity, dense, pointwise };
  }

  /** A state of the deploy form, as it was published or as FastReID names it, brings the block to that form. */
  override beforeLoad(state: Map<string, Tensor>, prefix: string): void {
    for (const name of ['weight', 'bias']) {
      const fused = state.get(`${prefix}fused_${name}`);
      if (fused === undefined) continue;
      state.set(`${prefix}rbr_reparam.${name}`, fused);
      state.delete(`${prefix}fused_${name}`);
    }
    if (state.has(`${prefix}rbr_reparam.weight`)) this.deploy();
  }

  /** Merges the branches by their running statistics, in double precision (Ding et al. 2021, section 3.3). */
  deploy(): void {
    if (this.rbr_reparam !== undefined) return;
    const { identity, dense, pointwise } = this.#branches();
    const { weight, stride, padding, groups } = dense.conv;
    const [outChannels, groupChannels] = weight.shape;
    const fused = new torch.nn.Conv2d(groupChannels * groups, outChannels, 3, {
      stride,
      padding,
      groups,
      device: weight.device,
      dtype: weight.dtype,
    });
    torch.noGrad(() =>
      torch.scope(() => {
        const parts = [
          fuse(dense.conv.weight, dense.bn),
          fuse(torch.constant_pad_nd(pointwise.conv.weight, [1, 1, 1, 1]), pointwise.bn),
        ];
        if (identity !== undefined) parts.push(fuse(unitKernel(weight), identity));
        fused.weight.copy_(parts.map(([kernel]) => kernel).reduce((sum, kernel) => sum.add(kernel)));
        fused.bias?.copy_(parts.map(([, bias]) => bias).reduce((sum, bias) => sum.add(bias)));
      }),
    );
    this.rbr_reparam = fused.train(this.training);
    this.rbr_identity = undefined;
    this.rbr_dense = undefined;
    this.rbr_1x1 = undefined;
  }
}

/** Kernel `[O, I, 3, 3]` and bias `[O]`, float64, that do what convolution and evaluated normalisation do. */
function fuse(kernel: Tensor, norm: torch.nn.Module): [kernel: Tensor, bias: Tensor] {
  const state = norm.stateDict();
  const [mean, variance] = [state.get('running_mean'), state.get('running_var')];
  if (mean === undefined || variance === undefined || !('eps' in norm) || typeof norm.eps !== 'number') {
    throw new Error(`RepVGG: ${norm.typeName} has no running statistics, so its block cannot be deployed`);
  }
  const deviation = variance.double().add(norm.eps).sqrt();
  const scale = (state.get('weight') ?? torch.ones_like(mean)).double().div(deviation);
  const shift = (state.get('bias') ?? torch.zeros_like(mean)).double();
  return [kernel.double().mul(scale.view([-1, 1, 1, 1])), shift.sub(mean.double().mul(scale))];
}

/** The 3×3 kernel, shaped as `weight`, of a grouped convolution that changes nothing. */
function unitKernel(weight: Tensor): Tensor {
  const [channels, groupChannels] = weight.shape;
  const kernel = torch.zeros_like(weight);
  for (let i = 0; i < channels; i++) kernel.index(i, i % groupChannels, 1, 1).fill_(1);
  return kernel;
}

type PerStage = readonly [number, number, number, number];

export interface RepVGGOptions {
  /** Blocks of the four stages after the first block. */
  blocks: PerStage;
  /** Factors on the stages' 64, 128, 256 and 512 channels. */
  width: PerStage;
  /** Groups of every second convolution. */
  groups: number;
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
}

/**
 * RepVGG (Ding et al. 2021): images `[N, 3, H, W]` to a map `[N, 512 · width[3], h, w]`, where h is H/16 with a last
 * stride of 1 and H/32 with 2.
 */
export class RepVGG extends torch.nn.Module {
  readonly stage0: RepVGGBlock;
  readonly stage1: torch.nn.Sequential;
  readonly stage2: torch.nn.Sequential;
  readonly stage3: torch.nn.Sequential;
  readonly stage4: torch.nn.Sequential;

  constructor({ blocks, width, groups, lastStride, norm }: RepVGGOptions) {
    super();
    const channels = [64, 128, 256, 512].map((planes, i) => Math.floor(planes * width[i]));
    let inChannels = Math.min(64, channels[0]);
    this.stage0 = new RepVGGBlock(3, inChannels, { stride: 2, groups: 1, norm });
    let layer = 1;
    const stage = (i: number, firstStride: number): torch.nn.Sequential => {
      const layers = Array.from({ length: blocks[i] }, (_, block) => {
        const options = { stride: block === 0 ? firstStride : 1, groups: layer % 2 === 0 ? groups : 1, norm };
        const made = new RepVGGBlock(inChannels, channels[i], options);
        inChannels = channels[i];
        layer++;
        return made;
      });
      return new torch.nn.Sequential(...layers);
    };
    this.stage1 = stage(0, 2);
    this.stage2 = stage(1, 2);
    this.stage3 = stage(2, 2);
    this.stage4 = stage(3, lastStride);
  }

  protected override forward(images: Tensor): Tensor {
    const { stage0, stage1, stage2, stage3, stage4 } = this;
    return torch.nn.chain(images, [stage0, stage1, stage2, stage3, stage4]);
  }
}

const A: PerStage = [2, 4, 14, 1];
const B: PerStage = [4, 6, 16, 1];

type Variant = Pick<RepVGGOptions, 'blocks' | 'width' | 'groups'>;

const VARIANTS: Record<string, Variant> = {
  A0: { blocks: A, width: [0.75, 0.75, 0.75, 2.5], groups: 1 },
  A1: { blocks: A, width: [1, 1, 1, 2.5], groups: 1 },
  A2: { blocks: A, width: [1.5, 1.5, 1.5, 2.75], groups: 1 },
  B0: { blocks: B, width: [1, 1, 1, 2.5], groups: 1 },
  B1: { blocks: B, width: [2, 2, 2, 4], groups: 1 },
  B1g2: { blocks: B, width: [2, 2, 2, 4], groups: 2 },
  B1g4: { blocks: B, width: [2, 2, 2, 4], groups: 4 },
  B2: { blocks: B, width: [2.5, 2.5, 2.5, 5], groups: 1 },
  B2g2: { blocks: B, width: [2.5, 2.5, 2.5, 5], groups: 2 },
  B2g4: { blocks: B, width: [2.5, 2.5, 2.5, 5], groups: 4 },
  B3: { blocks: B, width: [3, 3, 3, 5], groups: 1 },
  B3g2: { blocks: B, width: [3, 3, 3, 5], groups: 2 },
  B3g4: { blocks: B, width: [3, 3, 3, 5], groups: 4 },
};

const BUILDER = 'build_repvgg_backbone';

/**
 * `build_repvgg_backbone`: DEPTH A0 to A2 and B0 to B3, B1 to B3 also with g2 or g4; honours LAST_STRIDE, NORM, PRETRAIN
 * and PRETRAIN_PATH of `MODEL.BACKBONE`. A file of deployed weights makes a deployed backbone.
 */
export function buildRepVGG(cfg: Config, log: Log): RepVGG {
  const { DEPTH, LAST_STRIDE, NORM, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const variant = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['LAST_STRIDE', 'NORM']);
  const model = new RepVGG({ ...variant, lastStride: LAST_STRIDE, norm: NORM });
  if (PRETRAIN) {
    const published = {
      url: 'https://drive.google.com/drive/folders/1Avome4KvNp0Lqh2QwhXO6L5URQjzCjUq',
      file: `RepVGG-${DEPTH}-train.pth`,
    };
    loadPretrained(model, PRETRAIN_PATH, published, log);
  }
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildRepVGG);
