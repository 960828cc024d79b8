import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** Height and width. */
export type Size = readonly [height: number, width: number];

export interface PatchEmbedOptions {
  /** Height and width of a patch, in pixels. */
  patchSize: number;
  /** From one patch to the next, in pixels; less than `patchSize` makes patches overlap. */
  stride: Size;
  dim: number;
  bias?: boolean;
}

/**
 * Images `[N, 3, H, W]` to one vector a patch, as a map `[N, dim, h, w]`. Pixels right of and below the last whole
 * patch are not seen.
 */
export class PatchEmbed extends torch.nn.Module {
  // The field's name is that of the state dict.
  readonly proj: torch.nn.Conv2d;

  constructor({ patchSize, stride, dim, bias = true }: PatchEmbedOptions) {
    super();
    this.proj = new torch.nn.Conv2d(3, dim, patchSize, { stride: [...stride], bias });
  }

  protected override forward(images: Tensor): Tensor {
    return this.proj.call(images);
  }

  /** Rows and columns of patches of an image of `size`; an image smaller than a patch is an error. */
  gridOf(size: Size): [rows: number, columns: number] {
    const [patch] = this.proj.kernelSize;
    const [rows, columns] = size.map((pixels, i) => Math.floor((pixels - patch) / this.proj.stride[i]) + 1);
    if (rows < 1 || columns < 1) throw new Error(`an image of [${size}] is smaller than a patch of ${patch}`);
    return [rows, columns];
  }

  /** Pixels of `size` that the patches do not see: rows at the bottom, columns at the right. */
  unseen(size: Size): [rows: number, columns: number] {
    const [patch] = this.proj.kernelSize;
    const [rows, columns] = this.gridOf(size).map(
      (count, i) => size[i] - patch - (count - 1) * this.proj.stride[i],
    );
    return [rows, columns];
  }
}
