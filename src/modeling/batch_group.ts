import type * as torch from '../torch/index.js';
import type { BatchGroup } from './layers/batch_group.js';
import { SyncBatchNorm } from './layers/sync_batch_norm.js';
import { FeatureMemory } from './meta_arch/moco.js';

/**
 * Lets what looks at a whole batch, every SyncBatchNorm and FeatureMemory in `root`, share it with the processes of
 * `group`; null: no longer.
 */
export function setBatchGroup(root: torch.nn.AnyModule, group: BatchGroup | null): void {
  for (const module of root.modules()) {
    if (module instanceof SyncBatchNorm || module instanceof FeatureMemory) module.group = group;
  }
}
