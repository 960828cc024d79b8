import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

export interface NormOptions {
  /** The scale stays as it is: excluded from training. */
  freezeWeight?: boolean;
  /** The shift stays as it is: excluded from training (the BN-neck does this). */
  freezeBias?: boolean;
  /** GhostBN: parts of a training batch that are normalised by themselves (default 1). Others take no notice. */
  splits?: number;
}

/** `torch.nn.BatchNorm2d` whose scale or shift may be frozen. */
export class BatchNorm extends torch.nn.BatchNorm2d {
  constructor(channels: number, { freezeWeight = false, freezeBias = false }: NormOptions = {}) {
    super(channels);
    this.weight?.requiresGrad_(!freezeWeight);
    this.bias?.requiresGrad_(!freezeBias);
  }
}

/**
 * Batch normalisation by the statistics of parts of the batch (Hoffer et al. 2017), as if it were spread over that
 * many devices. Of `n` parts, part `j` holds samples `j`, `j + n`, `j + 2n` and so on; the running statistics are
 * the parts' mean. In evaluation, and with one part, it is BatchNorm.
 */
export class GhostBatchNorm extends BatchNorm {
  #splits = 1;

  constructor(channels: number, options: NormOptions = {}) {
    super(channels, options);
    this.splits = options.splits ?? 1;
  }

  /** The number of parts of a training batch, which it must divide. */
  get splits(): number {
    return this.#splits;
  }

  set splits(splits: number) {
    if (!Number.isInteger(splits) || splits < 1) {
      throw new Error(`GhostBN: the number of splits is ${splits}; it must be a whole number of at least 1`);
    }
    this.#splits = splits;
  }

  protected override forward(input: Tensor): Tensor {
    if (!this.training) return super.forward(input);
    this.checkDims(input);
    const [n, c, h, w] = input.shape;
    const parts = this.#splits;
    if (n % parts !== 0) {
      throw new Error(
        `GhostBN: a batch of ${n} images cannot be parted into ${parts} equal splits; choose a NORM_SPLIT that ` +
          'divides the images a device gets',
      );
    }
    if ((n / parts) * h * w === 1) {
      throw new Error(
        `GhostBN: a split of one value a channel has no variance (input [${input.shape.join(', ')}], ${parts} splits)`,
      );
    }
    const repeat = (channels: Tensor | null): Tensor | null =>
      parts === 1 || channels === null ? channels : channels.repeat([parts]);
    const mean = repeat(this.running_mean);
    const variance = repeat(this.running_var);
    const output = torch.batch_norm(
      parts === 1 ? input : input.reshape([n / parts, c * parts, h, w]),
      repeat(this.weight),
      repeat(this.bias),
      mean,
      variance,
      true,
      this.momentum ?? 0.1,
      this.eps,
      true,
    );
    if (parts === 1) return output;
    torch.noGrad(() => {
      this.running_mean?.copy_((mean as Tensor).view([parts, c]).mean([0]));
      this.running_var?.copy_((variance as Tensor).view([parts, c]).mean([0]));
    });
    return output.view([n, c, h, w]);
  }

  override extraRepr(): string {
    return `${super.extraRepr()}, splits=${this.#splits}`;
  }
}

/** Sets the number of splits of every GhostBN in `root`; models without any are left alone. */
export function setNormSplits(root: torch.nn.AnyModule, splits: number): void {
  for (const module of root.modules()) {
    if (module instanceof GhostBatchNorm) module.splits = splits;
  }
}
