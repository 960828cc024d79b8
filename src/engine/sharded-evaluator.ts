import type { DatasetEvaluator, Labels, Results } from '../evaluation/index.js';
import type { Tensor } from '../torch/index.js';
import * as torch from '../torch/index.js';

const { distributed: dist } = torch;

/**
 * An evaluator for a test set of which every process has a piece, as the test loaders deal it out: rank 0 gets the
 * features of all, in order, and lets the given evaluator work; all get its results.
 */
export class ShardedEvaluator implements DatasetEvaluator {
  readonly #inner: DatasetEvaluator;
  #features: Tensor[] = [];
  #pids: number[] = [];
  #camids: number[] = [];

  constructor(inner: DatasetEvaluator) {
    this.#inner = inner;
  }

  reset(): void {
    for (const features of this.#features) features.dispose();
    this.#features = [];
    this.#pids = [];
    this.#camids = [];
    this.#inner.reset();
  }

  process(features: Tensor, { pids, camids }: Labels): void {
    this.#features.push(
      torch.scope(() => features.detach().to({ device: 'cpu', dtype: torch.float32, copy: true }).keep()),
    );
    this.#pids.push(...Array.from(pids));
    this.#camids.push(...Array.from(camids));
  }

  async evaluate(): Promise<Results> {
    const group = dist.worldGroup();
    const labels = await dist.gatherObject({ pids: this.#pids, camids: this.#camids });
    // A process without any image (more processes than images) has no features to know the dimension by.
    const own = this.#features.length > 0 ? torch.cat(this.#features, 0) : torch.zeros([0, 0]);
    const pieces = await group.gatherUneven(own);
    if (pieces === null || labels === null) return dist.broadcastObject<Results>({});
    for (const [rank, piece] of pieces.entries()) {
      if (labels[rank]!.pids.length > 0) this.#inner.process(piece, labels[rank]!);
      piece.dispose();
    }
    return dist.broadcastObject(await this.#inner.evaluate());
  }
}
