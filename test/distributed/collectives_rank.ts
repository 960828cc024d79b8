// One rank of collectives.test.ts.
import * as torch from '../../src/torch/index.js';
import { backend, ownDevice } from './place.js';
import { report } from './ranks.js';

const { distributed: dist } = torch;
torch.setNumThreads(1);
const device = ownDevice();
const group = await dist.initProcessGroup({ backend, timeout: 20_000 });
const { rank, size } = group;
const list = (tensor: torch.Tensor): unknown =>
  (tensor.dtype === torch.bool ? tensor : tensor.double()).cpu().tolist();
/** [rows, 2]: 10·rank + 0, 1, 2, … */
const mine = (rows = 2): torch.Tensor =>
  torch
    .arange(2 * rows, { device })
    .float()
    .view([rows, 2])
    .add(10 * rank);
const results: Record<string, unknown> = { rank: dist.getRank(), size: dist.getWorldSize() };

results.broadcast = list(await group.broadcast(mine(), 1));
results.broadcastStrided = list(group.broadcast(mine().t(), 1).wait());
results.broadcastBool = list(await group.broadcast(torch.tensor([rank === 1, false], { device }), 1));
results.broadcastBf16 = list(await group.broadcast(mine().to(torch.bfloat16), 1));
for (const op of ['sum', 'avg', 'product', 'min', 'max'] as const) {
  results[op] = list(await group.allReduce(mine(), op));
}
results.half = list(await group.allReduce(mine().to(torch.float16)));
results.bf16 = list(await group.allReduce(mine().to(torch.bfloat16)));
results.ints = list(await group.allReduce(torch.tensor([BigInt(rank) + 2n ** 40n], { device })));
// NCCL has no such operator.
if (backend === 'gloo') results.bor = list(await group.allReduce(torch.tensor([1n << BigInt(rank)]), 'bor'));
const strided = mine().t();
group.allReduce(strided).wait();
results.strided = list(strided);
results.scalar = list(await group.allReduce(torch.tensor(1.5, { device })));
const reduced = await group.reduce(mine(), 1, 'sum');
if (rank === 1) results.reduce = list(reduced);
results.allGather = (await group.allGather(mine().t())).map(list);
results.allGatherStacked = list(await group.allGatherStacked(mine().t().to(torch.bfloat16)));
results.uneven = (await group.allGatherUneven(mine(rank + 1))).map(list);
results.unevenEmpty = group.allGatherUnevenSync(mine(rank)).map((t) => t.shape);
results.gather = (await group.gather(mine(1), 1))?.map(list) ?? null;
results.scatter = list(
  await group.scatter(
    torch.zeros([2], { device }),
    rank === 0 ? [torch.ones([2], { device }), torch.full([2], 7, { device })] : null,
  ),
);
results.reduceScatter = list(await group.reduceScatter(mine(4)));
results.allToAll = list(await group.allToAll(mine(4)));
// Rank 0 gives 1 and 2 rows, rank 1 gives 3 and 0.
results.allToAllUneven = list(
  await group.allToAll(mine(3), rank === 0 ? [1, 2] : [3, 0], rank === 0 ? [1, 3] : [2, 0]),
);
const tag = backend === 'gloo' ? 5 : 0;
if (rank === 0) {
  await group.send(torch.tensor([3, 4], { device }), 1, tag);
  results.received = list(await group.recv(torch.zeros([2], { device, dtype: torch.int64 }), 1));
} else {
  results.received = list(await group.recv(torch.zeros([2], { device }), 0, tag));
  await group.send(torch.tensor([8n, 9n], { device }), 0);
}
// Two to the other and two from it, the second of which is not contiguous.
const peer = 1 - rank;
results.exchanged = (
  await group.exchange([
    { op: 'recv', tensor: torch.zeros([1, 2], { device }), peer },
    { op: 'send', tensor: mine(1), peer },
    { op: 'send', tensor: mine().t(), peer },
    { op: 'recv', tensor: torch.zeros([2, 2], { device }).t(), peer },
  ])
).map(list);
results.exchangedNothing = group.exchange([]).wait();
results.objects = await dist.allGatherObject({ name: 'x'.repeat(rank * 5), map: new Map([[rank, [rank]]]) });
results.gathered = await dist.gatherObject(`rank ${rank}`, 1);
results.told = await dist.broadcastObject(rank === 0 ? { answer: 42 } : undefined);

// Many at once, awaited in another order than they began.
const works = Array.from({ length: 8 }, (_, i) => group.allReduce(torch.full([3], i + rank, { device })));
results.many = (await Promise.all(works.reverse())).map(list);

// While one waits for another process, the event loop turns.
let ticks = 0;
const timer = setInterval(() => ticks++, 5);
if (rank === 1) await new Promise((resolve) => setTimeout(resolve, 150));
await group.barrier();
clearInterval(timer);
results.ticks = ticks;

const alone = await dist.newGroup([1]);
const both = await dist.newGroup([0, 1], { timeout: 5000 });
results.alone = alone && [alone.rank, alone.size, list(await alone.allReduce(mine(1)))];
results.both = both && [both.rank, both.ranks, list(await both.allReduce(torch.tensor([1], { device })))];
alone?.close();
both?.close();

const messages: string[] = [];
const sending = (tensor: torch.Tensor) => ({ op: 'send', tensor, peer }) as const;
const refused: (() => unknown)[] = [
  () => group.broadcast(mine(), size),
  () => group.allToAll(mine(3)),
  () => group.reduceScatter(mine(3)),
  () => group.scatter(mine(), [], rank),
  () => group.exchange([torch.ones([1]), torch.ones([1], { device: 'meta' })].map(sending)),
];
if (backend === 'nccl') {
  refused.push(
    () => group.send(mine(), peer, 5),
    () => group.allReduce(mine(), 'bor'),
  );
}
for (const call of refused) {
  try {
    call();
    messages.push('done');
  } catch (error) {
    messages.push((error as Error).message);
  }
}
results.refused = messages;
await report(
  JSON.parse(
    JSON.stringify(results, (_, v) => (v instanceof Map ? [...v] : typeof v === 'bigint' ? `${v}` : v)),
  ),
);
await dist.destroyProcessGroup();
results.after = dist.isInitialized();
process.exit(results.after ? 1 : 0);
