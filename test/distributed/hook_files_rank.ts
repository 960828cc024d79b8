// One rank of hook_files.test.ts: node hook_files_rank.js FOLDER. The second batch is not finite.
import { hooks, SimpleTrainer } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { report } from './ranks.js';

const folder = process.argv[2] as string;
setQuiet(true);
torch.setNumThreads(1);
await torch.distributed.initProcessGroup({ backend: 'gloo', timeout: 20_000 });

class Net extends torch.nn.Module<[torch.Tensor], torch.Tensor> {
  readonly fc = new torch.nn.Linear(4, 1);

  protected override forward(x: torch.Tensor): torch.Tensor {
    return this.fc.call(x).square().mean();
  }
}

const model = new Net();
const optimizer = new torch.optim.SGD(model.parameters(), { lr: 0.01 });
const batches = [torch.ones([2, 4]), torch.full([2, 4], Number.NaN)];
const trainer = new SimpleTrainer(model, batches, optimizer);
trainer.registerHooks([
  new hooks.CaptureHook({ model, layers: 'fc', what: 'output', to: 'safetensors', folder }),
  new hooks.AutogradProfiler({ model, folder, when: ({ iter }) => iter === 0, report: () => undefined }),
  new hooks.NonFiniteDetector({ model, folder }),
]);
try {
  await trainer.trainLoop({ maxEpoch: 1, itersPerEpoch: 2 });
} catch (error) {
  await report((error as Error).message);
}
await torch.distributed.destroyProcessGroup();
