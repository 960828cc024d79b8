import { type Config, ConfigError } from '../config/index.js';
import * as torch from '../torch/index.js';

/**
 * Lays out a model in memory as `MODEL.MEMORY_FORMAT` says, in place: with `channels_last`, weights and maps
 * `[N, C, H, W]` keep the channels of a pixel together. Convolutions hand the layout of their weights on to what they
 * compute. Values stay the same but for rounding; shapes, state dict and checkpoints do not change.
 *
 * `auto` takes channels_last for models that convolve more than once (a transformer convolves its patches only), on the
 * CPU always, on CUDA in mixed precision, where the tensor cores want it.
 *
 * @returns the layout taken
 */
export function applyMemoryFormat(
  model: torch.nn.AnyModule,
  { MODEL, SOLVER }: Config,
): 'contiguous' | 'channels_last' {
  const format = MODEL.MEMORY_FORMAT;
  if (format !== 'auto' && format !== 'contiguous' && format !== 'channels_last') {
    throw new ConfigError(
      `MODEL.MEMORY_FORMAT is '${format}'; it must be 'auto', 'contiguous' or 'channels_last'`,
      'MODEL.MEMORY_FORMAT',
    );
  }
  const onGpu = MODEL.DEVICE.startsWith('cuda');
  const wanted =
    format === 'auto' ? convolves(model) && (!onGpu || SOLVER.AMP.ENABLED) : format === 'channels_last';
  if (!wanted) return 'contiguous';
  model.to({ memoryFormat: 'channels_last' });
  for (const parameter of model.parameters()) restride(parameter);
  return 'channels_last';
}

/**
 * A 1×1 kernel is laid out both ways at once, and conversion leaves its strides alone. Its gradients come with those of
 * channels_last, and c10d's reducer warns of gradients that differ from their parameters.
 */
function restride(parameter: torch.Tensor): void {
  const { shape, strides } = parameter;
  if (shape.length !== 4) return;
  const [, c, h, w] = shape;
  const wanted = [h * w * c, 1, w * c, c];
  if (strides.join() === wanted.join()) return;
  torch.noGrad(() => parameter.setData(parameter.detach().as_strided(shape, wanted)));
}

function convolves(model: torch.nn.AnyModule): boolean {
  let count = 0;
  for (const module of model.modules()) if (module instanceof torch.nn.Conv2d) count++;
  return count > 1;
}
