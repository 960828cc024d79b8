// One rank of data_parallel.test.ts.
import { SyncBatchNorm } from '../../src/modeling/layers/norm.js';
import * as torch from '../../src/torch/index.js';
import { backend, ownDevice } from './place.js';
import { report } from './ranks.js';

const { distributed: dist, nn } = torch;
torch.setNumThreads(1);
const device = ownDevice();
const group = await dist.initProcessGroup({ backend, timeout: 20_000 });
const { rank } = group;

function numbers(shape: readonly number[], salt: number): torch.Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return torch
    .tensor(Array.from({ length: count }, (_, i) => (((i * 17 + salt * 31) % 101) - 50) / 64))
    .view(shape)
    .to(device);
}

class Net extends nn.Module<[torch.Tensor, boolean]> {
  readonly fc1 = new nn.Linear(6, 16);
  readonly bn = new nn.BatchNorm1d(16);
  readonly fc2 = new nn.Linear(16, 16);
  readonly a = new nn.Linear(16, 4);
  readonly b = new nn.Linear(16, 4);

  protected override forward(x: torch.Tensor, useB: boolean): torch.Tensor {
    const y = this.fc2.call(this.bn.call(this.fc1.call(x)).relu()).relu();
    return useB ? this.a.call(y).add(this.b.call(y)) : this.a.call(y);
  }
}

const flat = (tensor: torch.Tensor): number[] => tensor.double().view([-1]).cpu().tolist() as number[];

function newNet(): Net {
  const net = new Net().to(device);
  torch.noGrad(() => {
    for (const [i, p] of [...net.parameters()].entries()) p.copy_(numbers(p.shape, i + 100 * rank));
  });
  return net;
}

function train(which: string): unknown {
  const net = newNet();
  const ddp = new dist.DistributedDataParallel(net, {
    bucketCapMb: 0.0005,
    findUnusedParameters: which === 'unused',
    gradientAsBucketView: which === 'view',
  });
  for (let step = 0; step < 4; step++) {
    const one = (part: number): void => {
      const useB = which === 'unused' ? step !== 3 && (step + rank) % 2 === 0 : true;
      ddp
        .call(numbers([3, 6], 7 * step + 3 * rank + part), useB)
        .pow(2)
        .mean()
        .backward();
    };
    if (which === 'accumulate') ddp.noSync(() => one(0));
    one(1);
    torch.noGrad(() => {
      for (const p of net.parameters()) {
        if (p.grad) p.sub_(p.grad, { alpha: 0.05 });
        if (step < 3) p.grad = null;
      }
    });
  }
  ddp.close();
  const grads = [...net.parameters()].map(({ grad }) => grad && flat(grad));
  return { grads, state: [...net.stateDict().values()].map(flat) };
}

/** What hooks of modules and tensors see, and change, within a data-parallel step; in the order of their calls. */
function hooked(): unknown {
  const net = newNet();
  const ddp = new dist.DistributedDataParallel(net, { bucketCapMb: 0.0005 });
  const seen: [string, number[]][] = [];
  const put = (name: string, value: torch.Tensor): void => void seen.push([name, flat(value.detach())]);
  net.fc1.registerForwardPreHook((_, [x]) => put('fc1 input', x));
  net.fc2.registerForwardHook((_, __, y) => put('fc2 output', y));
  net.fc2.registerFullBackwardHook((_, [gradInput], [gradOutput]) => {
    put('fc2 gradInput', gradInput!);
    put('fc2 gradOutput', gradOutput!);
  });
  net.bn.registerForwardHook((_, __, y) => void y.registerHook((grad) => put('bn gradOutput', grad)));
  net.a.registerFullBackwardHook((_, [gradInput]) => [gradInput!.mul(2)]);
  net.fc1.weight.registerHook((grad) => put('fc1 weight', grad));
  net.a.bias!.registerHook((grad) => grad.mul(3));
  for (let step = 0; step < 2; step++) {
    ddp
      .call(numbers([3, 6], 7 * step + 3 * rank), true)
      .pow(2)
      .mean()
      .backward();
  }
  ddp.close();
  return { seen, grads: [...net.parameters()].map(({ grad }) => grad && flat(grad)) };
}

/** Freezing after construction: what is frozen is left alone, what is unfrozen is averaged again. */
function freeze(): unknown {
  const net = newNet();
  const ddp = new dist.DistributedDataParallel(net);
  const grads = (): unknown => {
    net.zeroGrad();
    ddp
      .call(numbers([3, 6], rank), true)
      .pow(2)
      .mean()
      .backward();
    return net.fc1.weight.grad && flat(net.fc1.weight.grad);
  };
  net.fc1.requiresGrad_(false);
  const frozen = grads();
  net.fc1.requiresGrad_(true);
  return { frozen, open: grads() };
}

/** Its gradients by itself, and in a group of its own. */
async function alone(): Promise<unknown> {
  const groups = [await dist.newGroup([0]), await dist.newGroup([1])];
  const net = newNet();
  const ddp = new dist.DistributedDataParallel(net, { group: groups[rank]! });
  return [net, ddp].map((model) => {
    net.zeroGrad();
    model
      .call(numbers([3, 6], rank), true)
      .pow(2)
      .mean()
      .backward();
    return flat(net.fc1.weight.grad as torch.Tensor);
  });
}

/** A batch of 8 in parts of 3 and 5, against batch normalisation of the whole. */
function syncBatchNorm(): number[] {
  const whole = numbers([8, 3, 4, 2], 5);
  const part = (t: torch.Tensor): torch.Tensor => (rank === 0 ? t.narrow(0, 0, 3) : t.narrow(0, 3, 5));
  const run = (bn: torch.nn.Module, input: torch.Tensor, weights: torch.Tensor): torch.Tensor[] => {
    const x = input.clone().requiresGrad_();
    const y = bn.call(x);
    y.mul(weights).sum().backward();
    return [y, x.grad as torch.Tensor];
  };
  const sync = new SyncBatchNorm(3).to(device);
  sync.group = { rank, gather: (t) => group.allGatherStacked(t).wait() };
  const single = new nn.BatchNorm2d(3).to(device);
  const weights = numbers([8, 3, 4, 2], 9);
  const ours = run(sync, part(whole), part(weights));
  const theirs = run(single, whole, weights).map(part);
  const weightGrad = group.allReduce((sync.weight as torch.Tensor).grad as torch.Tensor).wait();
  ours.push(weightGrad, sync.running_mean as torch.Tensor, sync.running_var as torch.Tensor);
  theirs.push(
    (single.weight as torch.Tensor).grad as torch.Tensor,
    single.running_mean as torch.Tensor,
    single.running_var as torch.Tensor,
  );
  return ours.map((t, i) => Number(t.detach().sub(theirs[i]!.detach()).abs().max().item()));
}

const elsewhere = new nn.Linear(2, 2).to(device);
if (rank === 1) elsewhere.weight = new nn.Parameter(torch.zeros([2, 2], { device: 'meta' }));
const refused: string[] = [];
for (const odd of [new nn.Linear(2, 2 + rank).to(device), elsewhere]) {
  try {
    new dist.DistributedDataParallel(odd);
  } catch (error) {
    refused.push((error as Error).message);
  }
}
const cases = ['plain', 'unused', 'accumulate', 'view'];
const results = {
  ...Object.fromEntries(cases.map((which) => [which, train(which)])),
  hooked: hooked(),
};
await report({ results, frozen: freeze(), alone: await alone(), syncBn: syncBatchNorm(), refused });
await dist.destroyProcessGroup();
