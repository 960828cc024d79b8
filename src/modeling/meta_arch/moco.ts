import type { Config } from '../../config/index.js';
import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import type { HeadOutputs } from '../heads/build.js';
import type { BatchGroup } from '../layers/batch_group.js';
import { inFullPrecision } from '../layers/full_precision.js';
import { normalize } from '../layers/normalize.js';
import { Baseline, type BaselineOptions } from './baseline.js';
import { type LossDict, META_ARCH_REGISTRY, type ModelInput } from './build.js';

type Tensor = torch.Tensor;

export interface FeatureMemoryOptions {
  /** Width of the features. */
  dim: number;
  /** Features remembered. */
  size: number;
  /**
   * Which of a sample's positives is itself and does not count: the column where it has just been written, or,
   * with `first`, the column of its number in the batch, whatever that holds (FastReID's choice). The two agree
   * while the queue is written from its beginning.
   */
  self?: 'written' | 'first';
}

const MARGIN = 0.25;
const GAMMA = 32;

/** Logit of pairs that are not meant: they vanish in the sum of exponentials. */
const EXCLUDED = -99999999;

/**
 * The newest features of earlier batches (He et al. 2020, arXiv 1911.05722) and the pairwise CosFace loss of a batch
 * against all of them. It starts with random unit vectors of identity 0.
 *
 * A call with features `[N, dim]` and int64 targets `[N]` first writes them, scaled to length 1, over the oldest
 * ones, and returns the loss, a 0-dimensional tensor. N may be anything up to `size`: the queue wraps around.
 * Several processes write the features of all, by rank, so that their queues stay the same; all must give equally many.
 */
export class FeatureMemory extends torch.nn.Module<[Tensor, Tensor], Tensor> {
  readonly size: number;
  readonly dim: number;
  /** Whose batches are remembered together; null: this process's alone. */
  group: BatchGroup | null = null;
  readonly #self: 'written' | 'first';
  /** Features of length 1, one a column: `[dim, size]`. */
  declare queue: Tensor;
  /** Identity of each, int64 `[1, size]`. */
  declare queue_label: Tensor;
  /** Column that is written next, int64 `[1]`. */
  declare queue_ptr: Tensor;

  constructor({ dim, size, self = 'written' }: FeatureMemoryOptions) {
    super();
    if (!Number.isInteger(size) || size < 1) {
      throw new Error(
        `MODEL.QUEUE_SIZE is ${size}; a memory needs at least as many entries as a batch has images`,
      );
    }
    this.size = size;
    this.dim = dim;
    this.#self = self;
    this.registerBuffer(
      'queue',
      torch.scope(() => normalize(torch.randn([dim, size]), 0)),
    );
    this.registerBuffer('queue_label', torch.zeros([1, size], { dtype: torch.int64 }));
    this.registerBuffer('queue_ptr', torch.zeros([1], { dtype: torch.int64 }));
  }

  protected override forward(features: Tensor, targets: Tensor): Tensor {
    this.#check(features, targets);
    return inFullPrecision([features], (full) => this.#loss(full, targets));
  }

  #loss(features: Tensor, targets: Tensor): Tensor {
    const unit = normalize(features);
    const own = this.#write(unit.detach(), targets);
    const cosines = unit.matmul(this.queue);
    const other = targets.unsqueeze(1).ne(this.queue_label);
    const notPositive = other.clone().scatter_(1, own.unsqueeze(1), true);
    const positives = cosines.mul(-GAMMA).masked_fill(notPositive, EXCLUDED);
    const negatives = cosines.add(MARGIN).mul(GAMMA).masked_fill(other.logical_not(), EXCLUDED);
    return torch.softplus(positives.logsumexp([1]).add(negatives.logsumexp([1]))).mean();
  }

  /**
   * Replaces the oldest features by those of all processes and returns the columns, int64 `[N]`, that are this one's
   * samples themselves.
   */
  #write(unit: Tensor, targets: Tensor): Tensor {
    const { size, queue, queue_label, queue_ptr, group } = this;
    const own = unit.shape[0];
    return torch.noGrad(() => {
      const keys = group?.gather(unit).flatten(0, 1) ?? unit;
      const ids = group?.gather(targets).flatten(0, 1) ?? targets;
      const count = keys.shape[0];
      if (count > size) throw tooSmall(count, size);
      const numbers = torch.arange(count, { device: unit.device });
      // All on the device: asking for the pointer would make the CPU wait for a GPU.
      const columns = numbers.add(queue_ptr).remainder_(size);
      queue.index_copy_(1, columns, keys.t().to(queue.dtype));
      queue_label.index_copy_(1, columns, ids.unsqueeze(0).to(queue_label.dtype));
      queue_ptr.add_(count).remainder_(size);
      return this.#self === 'written'
        ? columns.narrow(0, own * (group?.rank ?? 0), own)
        : numbers.narrow(0, 0, own);
    });
  }

  #check(features: Tensor, targets: Tensor): void {
    const [count, width] = features.shape;
    if (features.dim() !== 2 || width !== this.dim) {
      throw new Error(
        `MoCo: the memory holds features of width ${this.dim} (MODEL.HEADS.EMBEDDING_DIM, or where that is 0, ` +
          `MODEL.BACKBONE.FEAT_DIM), but the head gives [${features.shape.join(', ')}]. With an EMBEDDING_DIM, ` +
          "MODEL.HEADS.NECK_FEAT must be 'after'",
      );
    }
    if (targets.dim() !== 1 || targets.shape[0] !== count) {
      throw new Error(`MoCo: ${count} features need as many targets, got [${targets.shape.join(', ')}]`);
    }
  }

  override extraRepr(): string {
    return `dim=${this.dim}, size=${this.size}`;
  }
}

function tooSmall(count: number, size: number): Error {
  return new Error(
    `MoCo: a batch of ${count} images does not fit into a memory of ${size}; raise MODEL.QUEUE_SIZE`,
  );
}

export interface MoCoOptions extends BaselineOptions {
  memory: FeatureMemory;
}

/**
 * Baseline with a memory of features: besides the losses of a batch, `loss_mb` compares it with the last
 * `MODEL.QUEUE_SIZE` features. Evaluation is Baseline's. The memory is part of the state dict.
 */
export class MoCo extends Baseline {
  // Its name in the state dict.
  readonly memory: FeatureMemory;

  constructor({ memory, ...baseline }: MoCoOptions) {
    super(baseline);
    this.memory = memory;
  }

  static override fromConfig(cfg: Config, log: Log): MoCoOptions {
    const { HEADS, BACKBONE, QUEUE_SIZE } = cfg.MODEL;
    return {
      ...Baseline.fromConfig(cfg, log),
      memory: new FeatureMemory({
        dim: HEADS.EMBEDDING_DIM > 0 ? HEADS.EMBEDDING_DIM : BACKBONE.FEAT_DIM,
        size: QUEUE_SIZE,
        self: cfg.COMPAT === 'fastreid' ? 'first' : 'written',
      }),
    };
  }

  protected override lossTerms(outputs: HeadOutputs, targets: Tensor, batch: ModelInput): LossDict {
    const losses = super.lossTerms(outputs, targets, batch);
    losses.loss_mb = this.memory.call(outputs.features, targets);
    return losses;
  }
}

META_ARCH_REGISTRY.register('MoCo', MoCo);
