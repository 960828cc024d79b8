import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { getNorm } from '../layers/norm.js';
import { BACKBONE_REGISTRY, noteUnused, variantOf } from './build.js';
import { loadPretrained } from './pretrained.js';

type Tensor = torch.Tensor;

// In the classes below, field names are those of the state dict and their order is its order.

/** Convolution without bias, normalisation, ReLU. */
class ConvNormReLU extends torch.nn.Module {
  readonly conv: torch.nn.Conv2d;
  readonly bn: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });

  constructor(conv: torch.nn.Conv2d, norm: torch.nn.Module) {
    super();
    this.conv = conv;
    this.bn = norm;
  }

  protected override forward(x: Tensor): Tensor {
    return this.relu.call(this.bn.call(this.conv.call(x)));
  }
}

/** 1×1 convolution without bias, and normalisation. */
class Conv1x1Linear extends torch.nn.Module {
  readonly conv: torch.nn.Conv2d;
  readonly bn: torch.nn.Module;

  constructor(inChannels: number, outChannels: number, norm: string) {
    super();
    this.conv = new torch.nn.Conv2d(inChannels, outChannels, 1, { bias: false });
    this.bn = getNorm(norm, outChannels);
  }

  protected override forward(x: Tensor): Tensor {
    return this.bn.call(this.conv.call(x));
  }
}

/** A 3×3 convolution factorised into a 1×1 and a depth-wise one. */
class LightConv3x3 extends torch.nn.Module {
  readonly conv1: torch.nn.Conv2d;
  readonly conv2: torch.nn.Conv2d;
  readonly bn: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });

  constructor(channels: number, norm: string) {
    super();
    this.conv1 = new torch.nn.Conv2d(channels, channels, 1, { bias: false });
    this.conv2 = new torch.nn.Conv2d(channels, channels, 3, { padding: 1, groups: channels, bias: false });
    this.bn = getNorm(norm, channels);
  }

  protected override forward(x: Tensor): Tensor {
    return this.relu.call(this.bn.call(this.conv2.call(this.conv1.call(x))));
  }
}

/** Scales every channel by a gate in (0, 1) made of the channels' means. */
class ChannelGate extends torch.nn.Module {
  readonly fc1: torch.nn.Conv2d;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly fc2: torch.nn.Conv2d;

  constructor(channels: number, reduction = 16) {
    super();
    const inner = Math.floor(channels / reduction);
    this.fc1 = new torch.nn.Conv2d(channels, inner, 1);
    this.fc2 = new torch.nn.Conv2d(inner, channels, 1);
  }

  protected override forward(x: Tensor): Tensor {
    const means = torch.adaptive_avg_pool2d(x, [1, 1]);
    return x.mul(this.fc2.call(this.relu.call(this.fc1.call(means))).sigmoid());
  }
}

/** Residual block of four streams whose receptive fields differ, added up under one shared gate. */
export class OSBlock extends torch.nn.Module {
  readonly conv1: ConvNormReLU;
  readonly conv2a: LightConv3x3;
  readonly conv2b: torch.nn.Sequential;
  readonly conv2c: torch.nn.Sequential;
  readonly conv2d: torch.nn.Sequential;
  readonly gate: ChannelGate;
  readonly conv3: Conv1x1Linear;
  readonly downsample: Conv1x1Linear | undefined;
  readonly IN: torch.nn.InstanceNorm2d | undefined;
  readonly relu = new torch.nn.ReLU({ inplace: true });

  constructor(inChannels: number, outChannels: number, norm: string, instanceNorm: boolean) {
    super();
    const middle = Math.floor(outChannels / 4);
    const stream = (length: number) =>
      new torch.nn.Sequential(...Array.from({ length }, () => new LightConv3x3(middle, norm)));
    this.conv1 = conv1x1(inChannels, middle, norm);
    this.conv2a = new LightConv3x3(middle, norm);
    this.conv2b = stream(2);
    this.conv2c = stream(3);
    this.conv2d = stream(4);
    this.gate = new ChannelGate(middle);
    this.conv3 = new Conv1x1Linear(middle, outChannels, norm);
    if (inChannels !== outChannels) this.downsample = new Conv1x1Linear(inChannels, outChannels, norm);
    if (instanceNorm) this.IN = new torch.nn.InstanceNorm2d(outChannels, { affine: true });
  }

  protected override forward(x: Tensor): Tensor {
    const x1 = this.conv1.call(x);
    // A scope for each stream frees its maps before the next one runs.
    const sum = torch.scope(() => this.gate.call(this.conv2a.call(x1)));
    for (const stream of [this.conv2b, this.conv2c, this.conv2d]) {
      torch.scope(() => sum.add_(this.gate.call(stream.call(x1))));
    }
    const x3 = this.conv3.call(sum);
    const identity = this.downsample === undefined ? x : this.downsample.call(x);
    const out = x3.add_(identity);
    return this.relu.call(this.IN === undefined ? out : this.IN.call(out));
  }
}

function conv1x1(inChannels: number, outChannels: number, norm: string): ConvNormReLU {
  const conv = new torch.nn.Conv2d(inChannels, outChannels, 1, { bias: false });
  return new ConvNormReLU(conv, getNorm(norm, outChannels));
}

type Widths = readonly [number, number, number, number];

export interface OSNetOptions {
  /** Channels of the stem and of the three stages. */
  channels: Widths;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Instance normalisation in the stem and the first stage, for domains that were not seen in training. */
  instanceNorm: boolean;
}

const BLOCKS = 2;

/** Omni-scale network (Zhou et al. 2019): images `[N, 3, H, W]` to a map `[N, channels[3], H/16, W/16]`. */
export class OSNet extends torch.nn.Module {
  readonly conv1: ConvNormReLU;
  readonly maxpool = new torch.nn.MaxPool2d(3, { stride: 2, padding: 1 });
  readonly conv2: torch.nn.Sequential;
  readonly conv3: torch.nn.Sequential;
  readonly conv4: torch.nn.Sequential;
  readonly conv5: ConvNormReLU;

  constructor({ channels, norm, instanceNorm }: OSNetOptions) {
    super();
    const [stem, ...stages] = channels;
    const stemConv = new torch.nn.Conv2d(3, stem, 7, { stride: 2, padding: 3, bias: false });
    const stemNorm = instanceNorm ? new torch.nn.InstanceNorm2d(stem, { affine: true }) : getNorm(norm, stem);
    this.conv1 = new ConvNormReLU(stemConv, stemNorm);
    this.conv2 = stage(stem, stages[0], norm, { instanceNorm, halve: true });
    this.conv3 = stage(stages[0], stages[1], norm, { instanceNorm: false, halve: true });
    this.conv4 = stage(stages[1], stages[2], norm, { instanceNorm: false, halve: false });
    this.conv5 = conv1x1(stages[2], stages[2], norm);
    for (const module of this.modules()) {
      if (!(module instanceof torch.nn.Conv2d)) continue;
      torch.nn.init.kaimingNormal_(module.weight, { mode: 'fan_out', nonlinearity: 'relu' });
      if (module.bias !== null) torch.nn.init.zeros_(module.bias);
    }
  }

  protected override forward(images: Tensor): Tensor {
    // The stem's maps are the largest of all: a scope of their own frees them before the stages run.
    const stem = torch.scope(() => this.maxpool.call(this.conv1.call(images)));
    return this.conv5.call(this.conv4.call(this.conv3.call(this.conv2.call(stem))));
  }
}

interface StageOptions {
  instanceNorm: boolean;
  /** Ends with a convolution and a pooling that halves height and width. */
  halve: boolean;
}

function stage(
  inChannels: number,
  outChannels: number,
  norm: string,
  { instanceNorm, halve }: StageOptions,
): torch.nn.Sequential {
  const layers: torch.nn.Module[] = Array.from(
    { length: BLOCKS },
    (_, i) => new OSBlock(i === 0 ? inChannels : outChannels, outChannels, norm, instanceNorm),
  );
  if (halve) {
    const pool = new torch.nn.AvgPool2d(2, { stride: 2 });
    layers.push(new torch.nn.Sequential(conv1x1(outChannels, outChannels, norm), pool));
  }
  return new torch.nn.Sequential(...layers);
}

interface Variant {
  channels: Widths;
  /** Numbers of the files in torchreid's Google Drive: plain, and with instance normalisation. */
  drive: string;
  driveIbn?: string;
}

const VARIANTS: Record<string, Variant> = {
  x1_0: {
    channels: [64, 256, 384, 512],
    drive: '1LaG1EJpHrxdAxKnSCJ_i0u-nbxSAeiFY',
    driveIbn: '1sr90V6irlYYDd4_4ISU2iruoRG8J__6l',
  },
  x0_75: { channels: [48, 192, 288, 384], drive: '1uwA9fElHOk3ZogwbeY5GkLI6QPTX70Hq' },
  x0_5: { channels: [32, 128, 192, 256], drive: '16DGLbZukvVYgINws8u8deSaOqjybZ83i' },
  x0_25: { channels: [16, 64, 96, 128], drive: '1rb8UN5ZzPKRc_xvtHlyDh-cSz88YX9hs' },
};

const BUILDER = 'build_osnet_backbone';

/**
 * `build_osnet_backbone`: DEPTH x1_0, x0_75, x0_5 or x0_25; honours NORM, WITH_IBN, PRETRAIN and PRETRAIN_PATH of
 * `MODEL.BACKBONE`. Published weights are torchreid's; with instance normalisation there are such for x1_0 only: other
 * sizes take of the plain ones what fits.
 */
export function buildOSNet(cfg: Config, log: Log): OSNet {
  const { DEPTH, NORM, WITH_IBN, PRETRAIN, PRETRAIN_PATH } = cfg.MODEL.BACKBONE;
  const { channels, drive, driveIbn } = variantOf(VARIANTS, DEPTH, BUILDER);
  noteUnused(cfg, log, BUILDER, ['NORM', 'WITH_IBN']);
  const model = new OSNet({ channels, norm: NORM, instanceNorm: WITH_IBN });
  if (PRETRAIN) {
    const ibn = WITH_IBN ? driveIbn : undefined;
    const published = {
      url: `https://drive.google.com/uc?id=${ibn ?? drive}`,
      file: `osnet_${ibn === undefined ? '' : 'ibn_'}${DEPTH}_imagenet.pth`,
    };
    loadPretrained(model, PRETRAIN_PATH, published, log);
  }
  return model;
}

BACKBONE_REGISTRY.register(BUILDER, buildOSNet);
