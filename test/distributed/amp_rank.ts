// One rank of amp.test.ts: four steps in float16, in the second of which rank 1 has infinite gradients.
import { AMPTrainer } from '../../src/engine/index.js';
import { setQuiet } from '../../src/logger.js';
import * as torch from '../../src/torch/index.js';
import { backend, kind, ownDevice } from './place.js';
import { report } from './ranks.js';

setQuiet(true);
torch.setNumThreads(1);
const device = ownDevice();
const group = await torch.distributed.initProcessGroup({ backend, timeout: 20_000 });

class Net extends torch.nn.Module<[torch.Tensor], torch.Tensor> {
  readonly fc1 = new torch.nn.Linear(4, 8);
  readonly fc2 = new torch.nn.Linear(8, 1);

  protected override forward(x: torch.Tensor): torch.Tensor {
    const hidden = this.fc1.call(x).relu();
    if (group.rank === 1 && trainer.iter === 1) hidden.registerHook((grad) => grad.mul(1 / 0));
    return this.fc2.call(hidden).float().square().mean();
  }
}

torch.manualSeed(7);
const net = new Net().to(device);
const ddp = new torch.distributed.DistributedDataParallel<[torch.Tensor], torch.Tensor>(net);
torch.manualSeed(group.rank);
const batches = Array.from({ length: 4 }, () => torch.randn([3, 4]).to(device));
const gradScaler = new torch.amp.GradScaler({ initScale: 1024 });
const optimizer = new torch.optim.SGD(net.parameters(), { lr: 0.01 });
const trainer = new AMPTrainer(ddp, batches, optimizer, { device: kind, dtype: torch.float16, gradScaler });

const weights = (): number[] =>
  [...net.parameters()].flatMap((parameter) => parameter.view([-1]).cpu().tolist() as number[]);
const seen = { scales: [] as number[], weights: [weights()] };
for (let i = 0; i < 4; i++) {
  await trainer.trainLoop({ startEpoch: i, maxEpoch: i + 1, itersPerEpoch: 1 });
  seen.scales.push(gradScaler.getScale());
  seen.weights.push(weights());
}
await report(seen);
await torch.distributed.destroyProcessGroup();
