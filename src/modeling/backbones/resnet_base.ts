import * as torch from '../../torch/index.js';
import { NonLocal } from '../layers/non_local.js';
import { getNorm } from '../layers/norm.js';

type Tensor = torch.Tensor;
type PerStage<T> = readonly [T, T, T, T];

export interface BlockOptions {
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Whether the first normalisation of the block is an instance-batch one (IBN-a). */
  ibn?: boolean;
  /** Whether squeeze-and-excitation scales what the block adds to its shortcut. */
  se?: boolean;
  stride?: number;
  /** Brings the block's input to the shape of its output, where the two differ. */
  downsample?: torch.nn.Module;
}

/** A residual block; `expansion` is the number of its output channels for each of its `planes`. */
export interface BlockType {
  readonly expansion: number;
  new (inPlanes: number, planes: number, options: BlockOptions): torch.nn.Module;
}

export interface ResidualNetOptions {
  block: BlockType;
  /** Number of blocks in each stage. */
  layers: PerStage<number>;
  /** Stride of the last stage: 2 as in image classification, 1 for a feature map of twice the height and width. */
  lastStride: number;
  /** A name in NORM_REGISTRY. */
  norm: string;
  /** Which stages have instance-batch normalisation. */
  ibn: PerStage<boolean>;
  se?: boolean;
  /** The pooling that ends the stem. */
  maxpool: torch.nn.MaxPool2d;
}

/** Number of the last blocks of each stage that a non-local block follows. */
export type NonLocalCounts = PerStage<number>;

/** A stage; other modules, whose names are elsewhere in the model, may run between its blocks. */
class Stage extends torch.nn.Sequential {
  readonly #guests = new Map<number, torch.nn.Module>();

  runAfter(index: number, guest: torch.nn.Module): void {
    this.#guests.set(index, guest);
  }

  override get typeName(): string {
    return 'Sequential';
  }

  protected override forward(input: Tensor): Tensor {
    const guests = this.#guests;
    if (guests.size === 0) return super.forward(input);
    return torch.nn.chain(
      input,
      [...this].flatMap((block, index) => {
        const guest = guests.get(index);
        return guest === undefined ? [block] : [block, guest];
      }),
    );
  }
}

/** What ResNet and ResNeXt share: the stem, four stages of residual blocks and non-local blocks in them. */
export abstract class ResidualNet extends torch.nn.Module {
  readonly conv1 = new torch.nn.Conv2d(3, 64, 7, { stride: 2, padding: 3, bias: false });
  readonly bn1: torch.nn.Module;
  readonly relu = new torch.nn.ReLU({ inplace: true });
  readonly maxpool: torch.nn.MaxPool2d;
  readonly layer1: torch.nn.Sequential;
  readonly layer2: torch.nn.Sequential;
  readonly layer3: torch.nn.Sequential;
  readonly layer4: torch.nn.Sequential;
  /** What it was built from. */
  readonly options: ResidualNetOptions;
  readonly #stages: readonly Stage[];

  constructor(options: ResidualNetOptions) {
    super();
    this.options = options;
    const { block, layers, lastStride, norm, ibn, se = false, maxpool } = options;
    this.bn1 = getNorm(norm, 64);
    this.maxpool = maxpool;
    let inPlanes = 64;
    this.#stages = [64, 128, 256, 512].map((planes, i) => {
      const stride = [1, 2, 2, lastStride][i];
      const stage = makeStage(block, inPlanes, planes, layers[i], stride, { norm, ibn: ibn[i], se });
      inPlanes = planes * block.expansion;
      return stage;
    });
    [this.layer1, this.layer2, this.layer3, this.layer4] = this.#stages;
  }

  /** To be called last: the names `NL_1` … `NL_4` come after all others, and these blocks keep their own start. */
  protected addNonLocal(counts: NonLocalCounts, norm: string): void {
    this.#stages.forEach((stage, i) => {
      const count = counts[i];
      if (count === 0) return;
      const channels = 256 * 2 ** i;
      const blocks = Array.from({ length: count }, () => new NonLocal(channels, norm));
      this.addModule(`NL_${i + 1}`, new torch.nn.ModuleList(blocks));
      blocks.forEach((block, j) => {
        stage.runAfter(stage.length - count + j, block);
      });
    });
  }

  protected override forward(images: Tensor): Tensor {
    const { conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4 } = this;
    return torch.nn.chain(images, [conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4]);
  }
}

/** A stage of `count` blocks; the first has the stride, and a downsample where the shapes differ. */
export function makeStage(
  Block: BlockType,
  inPlanes: number,
  planes: number,
  count: number,
  stride: number,
  options: BlockOptions,
): Stage {
  const outPlanes = planes * Block.expansion;
  let downsample: torch.nn.Module | undefined;
  if (stride !== 1 || inPlanes !== outPlanes) {
    downsample = new torch.nn.Sequential(
      new torch.nn.Conv2d(inPlanes, outPlanes, 1, { stride, bias: false }),
      getNorm(options.norm, outPlanes),
    );
  }
  const blocks = [new Block(inPlanes, planes, { ...options, stride, downsample })];
  while (blocks.length < count) blocks.push(new Block(outPlanes, planes, options));
  return new Stage(...blocks);
}

/** Draws every convolution's weight anew: normal, with variance 2 / (kernel area · output channels). */
export function initByFanOut(model: torch.nn.AnyModule): void {
  for (const module of model.modules()) {
    if (!(module instanceof torch.nn.Conv2d)) continue;
    const [outChannels, , height, width] = module.weight.shape;
    torch.nn.init.normal_(module.weight, 0, Math.sqrt(2 / (height * width * outChannels)));
  }
}
