import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import { buildBackbone } from '../backbones/build.js';
import { makeStage, ResidualNet } from '../backbones/resnet_base.js';
import type { Log } from '../build.js';
import { buildHeads, type Head, type HeadOutputs } from '../heads/build.js';
import { withoutDrawing } from '../layers/init.js';
import { setNormSplits } from '../layers/norm.js';
import { buildLosses, type NamedLoss } from '../losses/build.js';
import { type LossDict, META_ARCH_REGISTRY, type ModelInput } from './build.js';
import { ImageModel, type PixelStatistics, pixelStatistics } from './image_model.js';

type Tensor = torch.Tensor;
type Sequential = torch.nn.Sequential;

/** Branches of the trunk, each with the horizontal strips that its map is cut into. */
const BRANCHES = [
  { name: 'b1', strips: [] },
  { name: 'b2', strips: ['b21', 'b22'] },
  { name: 'b3', strips: ['b31', 'b32', 'b33'] },
] as const;

type Branch = (typeof BRANCHES)[number]['name'];
/** A map with a head of its own: a branch's whole map, or a strip of it. */
type Part = Branch | (typeof BRANCHES)[number]['strips'][number];

/** In the order of the losses. */
const PARTS: readonly Part[] = BRANCHES.flatMap(({ name, strips }) => [name, ...strips]);

/** Whose features, side by side, evaluation returns. */
const FEATURES: readonly Part[] = ['b1', 'b2', 'b3', 'b21', 'b22', 'b31', 'b32', 'b33'];

/** What the metric losses see: under the name of a part, its features, or those of its branch's strips together. */
const METRIC: readonly (readonly [Part, readonly Part[]])[] = [
  ['b1', ['b1']],
  ['b2', ['b2']],
  ['b3', ['b3']],
  ['b22', ['b21', 'b22']],
  ['b33', ['b31', 'b32', 'b33']],
];

export interface MGNOptions extends PixelStatistics {
  /** From normalised images to what the branches share. */
  backbone: torch.nn.Module;
  /** From the shared map to each branch's, `[N, C, h, w]`. */
  necks: Readonly<Record<Branch, torch.nn.Module>>;
  heads: Readonly<Record<Part, Head>>;
  losses: readonly NamedLoss[];
}

/**
 * Multiple Granularities Network (Wang et al. 2018): a trunk, the first blocks of a ResNet, and three branches, each
 * a copy of the rest. The first branch's map is looked at as a whole, the others' also in two and in three
 * horizontal strips (the last is the smaller where the rows do not divide), by eight heads in all.
 *
 * Evaluation returns all heads' features side by side, `[N, 8 · D]`. In training a classification loss is the mean
 * over the heads (`loss_cls_b1` … `loss_cls_b33`), a metric loss that over the whole maps and over the strips of one
 * branch taken together (`loss_triplet_b1`, `_b2`, `_b3`, `_b22`, `_b33`).
 */
export class MGN extends ImageModel {
  // Field names are those of the state dict.
  readonly backbone: torch.nn.Module;
  readonly b1: torch.nn.Module;
  readonly b1_head: Head;
  readonly b2: torch.nn.Module;
  readonly b2_head: Head;
  readonly b21_head: Head;
  readonly b22_head: Head;
  readonly b3: torch.nn.Module;
  readonly b3_head: Head;
  readonly b31_head: Head;
  readonly b32_head: Head;
  readonly b33_head: Head;
  readonly #losses: readonly NamedLoss[];

  constructor({ backbone, necks, heads, losses, ...statistics }: MGNOptions) {
    super(statistics);
    this.backbone = backbone;
    this.b1 = necks.b1;
    this.b1_head = heads.b1;
    this.b2 = necks.b2;
    this.b2_head = heads.b2;
    this.b21_head = heads.b21;
    this.b22_head = heads.b22;
    this.b3 = necks.b3;
    this.b3_head = heads.b3;
    this.b31_head = heads.b31;
    this.b32_head = heads.b32;
    this.b33_head = heads.b33;
    this.#losses = losses;
  }

  /** Takes any backbone of `build_resnet_backbone` and `build_resnext_backbone`; their non-local blocks are left out. */
  static fromConfig(cfg: Config, log: Log): MGNOptions {
    // The order in which weights are drawn decides what a seed gives.
    const { backbone, necks } = branchOut(cfg, log);
    const heads = Object.fromEntries(PARTS.map((part) => [part, buildHeads(cfg, log)]));
    return {
      backbone,
      necks,
      heads: heads as Record<Part, Head>,
      losses: buildLosses(cfg),
      ...pixelStatistics(cfg),
    };
  }

  protected override infer(batch: ModelInput): Tensor {
    const found = this.#perPart<Tensor>(batch);
    return torch.cat(
      FEATURES.map((part) => found[part]),
      1,
    );
  }

  protected override learn(batch: ModelInput, targets: Tensor): LossDict {
    const outputs = this.#perPart<HeadOutputs>(batch, targets);
    this.recordAccuracy(outputs.b1.pred_class_logits, targets);
    const losses: LossDict = {};
    for (const loss of this.#losses) {
      for (const [part, seen] of loss.on === 'logits' ? PARTS.map((p) => [p, [p]] as const) : METRIC) {
        const features =
          seen.length === 1
            ? outputs[part].features
            : torch.cat(
                seen.map((strip) => outputs[strip].features),
                1,
              );
        const term = loss.compute({ ...outputs[part], features }, targets);
        losses[`${loss.key}_${part}`] = term.mul(loss.on === 'logits' ? 1 / PARTS.length : 1 / METRIC.length);
      }
    }
    return losses;
  }

  /** What every head makes of its part. */
  #perPart<R extends Tensor | HeadOutputs>(batch: ModelInput, targets?: Tensor): Record<Part, R> {
    const shared = torch.scope(() => this.backbone.call(this.normalize(batch.images)));
    const found = BRANCHES.map(({ name, strips }) =>
      // A branch's map is let go before the next one's is made.
      torch.scope(() => {
        const map = this[name].call(shared);
        const pieces = [map, ...cut(map, strips.length)];
        return [name, ...strips].map((part, i) => [part, this[`${part}_head`].call(pieces[i], targets)]);
      }),
    );
    return Object.fromEntries(found.flat()) as Record<Part, R>;
  }
}

/** `count` horizontal strips of a map `[N, C, h, w]`. */
function cut(map: Tensor, count: number): Tensor[] {
  if (count === 0) return [];
  const strips = map.chunk(count, 2);
  if (strips.length === count) return strips;
  throw new Error(
    `MGN: a map of ${map.shape[2]} rows cannot be cut into ${count} strips; images need a larger height ` +
      '(INPUT.SIZE_TRAIN, INPUT.SIZE_TEST), best a multiple of 96',
  );
}

/** Takes a backbone apart and makes the branches from its last blocks. */
function branchOut(cfg: Config, log: Log): Pick<MGNOptions, 'backbone' | 'necks'> {
  const whole = buildBackbone(cfg, log);
  if (!(whole instanceof ResidualNet)) {
    throw new Error(
      `MODEL.META_ARCHITECTURE: MGN takes the stages of a ResNet or ResNeXt apart; MODEL.BACKBONE.NAME is ` +
        `'${cfg.MODEL.BACKBONE.NAME}', which has none. Choose build_resnet_backbone or build_resnext_backbone`,
    );
  }
  if (cfg.MODEL.BACKBONE.WITH_NL)
    log('MGN leaves out non-local blocks: MODEL.BACKBONE.WITH_NL has no effect');
  const { conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, options } = whole;
  const { block, layers, norm, ibn, se } = options;
  const width3 = 256 * block.expansion;
  const [firstOf3, ...restOf3] = layer3;
  const backbone = sequence(conv1, bn1, relu, maxpool, sequence(...layer1), sequence(...layer2), firstOf3);

  const conv4 = sequence(...restOf3);
  const copyOf4 = (): Sequential =>
    withoutDrawing(() =>
      alike(conv4, makeStage(block, width3, 256, layers[2] - 1, 1, { norm, ibn: ibn[2], se })),
    );
  // The branches that are cut into strips keep the rows of their map, whatever the last stride.
  const makeFine = (): Sequential => makeStage(block, width3, 512, layers[3], 1, { norm, ibn: ibn[3], se });
  const fine = alike(layer4, makeFine());
  const copyOfFine = (): Sequential => withoutDrawing(() => alike(fine, makeFine()));
  const necks = {
    b1: sequence(conv4, sequence(...layer4)),
    b2: sequence(copyOf4(), fine),
    b3: sequence(copyOf4(), copyOfFine()),
  };
  for (const neck of Object.values(necks)) setNormSplits(neck, cfg.MODEL.BACKBONE.NORM_SPLIT);
  return { backbone, necks };
}

function sequence(...modules: torch.nn.TensorModule[]): Sequential {
  return new torch.nn.Sequential(...modules);
}

/** `module` with the weights and statistics of another of its kind. */
function alike(other: Sequential, module: Sequential): Sequential {
  torch.scope(() => module.loadStateDict(other.stateDict()));
  return module;
}

META_ARCH_REGISTRY.register('MGN', MGN);
