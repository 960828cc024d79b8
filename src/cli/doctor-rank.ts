// One of the two processes that `doctor` starts: node doctor-rank.js FILE RANK. It ends with status 0 when both have
// added up their numbers.
import { pathToFileURL } from 'node:url';
import { distributed, setNumThreads, tensor } from '../torch/index.js';

const [file, rank] = process.argv.slice(2) as [string, string];
try {
  setNumThreads(1);
  const group = await distributed.initProcessGroup({
    backend: 'gloo',
    initMethod: pathToFileURL(file).href,
    rank: Number(rank),
    worldSize: 2,
    timeout: 15_000,
    joinTimeout: 15_000,
  });
  const sum = await group.allReduce(tensor([group.rank + 1]));
  await distributed.destroyProcessGroup();
  if (sum.item() !== 3) throw new Error(`1 + 2 came out as ${sum.item()}`);
} catch (error) {
  process.stderr.write((error as Error).message);
  process.exit(1);
}
