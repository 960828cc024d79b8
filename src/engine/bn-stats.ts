import { logger } from '../logger.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

type BatchNorm = torch.nn.BatchNorm;

/** What is needed of a batch; the rest of it is passed on to the model. */
export interface StatsBatch {
  images: Tensor;
  targets?: Tensor;
  dispose?(): void;
}

/** The batch normalisation layers whose running statistics training changes: those in training mode. */
export function trainedBatchNorms(model: torch.nn.AnyModule): BatchNorm[] {
  const found: BatchNorm[] = [];
  for (const module of model.modules()) {
    if (module instanceof torch.nn.BatchNorm && module.training && module.running_mean !== null) {
      found.push(module);
    }
  }
  return found;
}

/**
 * Computes the running statistics of batch normalisation anew: for weights that stay the same, the plain average of
 * the statistics of `iterations` batches, where training leaves a moving one over changing weights. The model must
 * be in training mode; layers that are not are left alone. Forward runs without gradients and with all targets 0,
 * so that batches may be of any data set; nothing else of the model is changed.
 *
 * @throws when there are fewer batches
 */
export async function updateBnStats<B extends StatsBatch>(
  model: torch.nn.AnyModule & { call(batch: B): unknown },
  batches: AsyncIterable<B>,
  iterations: number,
): Promise<void> {
  const layers = trainedBatchNorms(model);
  if (layers.length === 0 || iterations === 0) return;
  const stats = (): Tensor[] => layers.flatMap((bn) => [bn.running_mean as Tensor, bn.running_var as Tensor]);
  const momenta = layers.map(({ momentum }) => momentum);
  const averages = stats().map((t) => torch.zeros_like(t).keep());
  const others = otherState(model, layers);
  let done = 0;
  try {
    // The running statistics become those of the batch.
    for (const bn of layers) bn.momentum = 1;
    for await (const batch of batches) {
      try {
        torch.noGrad(() =>
          torch.scope(() => {
            const targets = batch.targets === undefined ? undefined : torch.zeros_like(batch.targets);
            model.call({ ...batch, ...(targets && { targets }) });
            done++;
            const steps = torch._foreach_sub(stats(), averages);
            torch._foreach_div_(steps, done);
            torch._foreach_add_(averages, steps);
          }),
        );
      } finally {
        batch.dispose?.();
      }
      if (done % 100 === 0) logger.info(`Batch norm statistics: ${done} of ${iterations} batches`);
      if (done === iterations) break;
    }
    if (done < iterations) {
      throw new Error(
        `batch norm statistics of ${iterations} batches were asked for, but there are only ${done}`,
      );
    }
    torch.noGrad(() => torch._foreach_copy_(stats(), averages));
  } finally {
    layers.forEach((bn, i) => {
      bn.momentum = momenta[i];
    });
    others.restore();
    for (const average of averages) average.dispose();
  }
}

/** Copies of what else a forward pass may change (queues, momentum encoders), to be put back. */
function otherState(model: torch.nn.AnyModule, layers: readonly BatchNorm[]): { restore(): void } {
  const ours = new Set<Tensor>();
  for (const bn of layers) for (const [, buffer] of bn.ownBuffers()) ours.add(buffer);
  const rest: Tensor[] = [...model.buffers()].filter((buffer) => !ours.has(buffer));
  for (const parameter of model.parameters()) if (!parameter.requiresGrad) rest.push(parameter);
  const copies = torch.noGrad(() => rest.map((tensor) => tensor.detach().clone().keep()));
  return {
    restore: () =>
      torch.noGrad(() => {
        rest.forEach((tensor, i) => {
          tensor.copy_(copies[i]);
          copies[i].dispose();
        });
      }),
  };
}
