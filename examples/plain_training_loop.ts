/**
 * Training without a trainer and without hooks: everything that happens, in the order in which it happens.
 *
 *   node dist/examples/plain_training_loop.js --config-file configs/demo/emoji_r18.yml [KEY VALUE …]
 */
import { parseArgs } from 'node:util';
import {
  assertSupported,
  buildLrScheduler,
  buildModel,
  buildOptimizer,
  buildReidTestLoader,
  buildReidTrainLoader,
  Checkpointer,
  getCfg,
  inferenceOnDataset,
  ReidEvaluator,
  resolveDevice,
  resultsTable,
} from 'reid-native';
import * as torch from 'reid-native/torch';

const { values: flags, positionals: overrides } = parseArgs({
  options: { 'config-file': { type: 'string', default: 'configs/demo/emoji_r18.yml' } },
  allowPositionals: true,
});
const file = getCfg().mergeFromFile(flags['config-file']).mergeFromList(overrides);
const cfg = resolveDevice(file).defrost();
assertSupported(cfg);
torch.manualSeed(0);

const loader = buildReidTrainLoader(cfg, { seed: 0 });
cfg.MODEL.HEADS.NUM_CLASSES = loader.dataset.numClasses;
const itersPerEpoch = Math.floor(loader.dataset.length / cfg.SOLVER.IMS_PER_BATCH);

const model = buildModel(cfg);
const optimizer = buildOptimizer(cfg, model);
const rates = buildLrScheduler(cfg, optimizer, itersPerEpoch);

let iteration = 0;
for (let epoch = 0; epoch < cfg.SOLVER.MAX_EPOCH; epoch++) {
  let total = 0;
  for (let i = 0; i < itersPerEpoch; i++) {
    const batch = await loader.next();
    if (!batch) break;
    // The scope frees the step's intermediate tensors at its end; what it returns is a number.
    total += torch.scope(() => {
      optimizer.zeroGrad();
      const losses = Object.values(model.losses(batch));
      const loss = losses.reduce((sum, term) => sum.add(term));
      loss.backward();
      optimizer.step();
      return Number(loss.item());
    });
    batch.dispose();
    rates.afterStep(++iteration);
  }
  rates.afterEpoch(epoch);
  console.log(`epoch ${epoch}: mean loss ${(total / itersPerEpoch).toFixed(4)}`);
}
await loader.close();

for (const name of cfg.DATASETS.TESTS) {
  const { loader: testLoader, protocol } = buildReidTestLoader(cfg, name);
  const evaluator = new ReidEvaluator(protocol, { metric: cfg.TEST.METRIC });
  const results = await inferenceOnDataset(model, testLoader, evaluator);
  await testLoader.close();
  console.log(resultsTable({ [name]: results }));
}
await new Checkpointer(model, cfg.OUTPUT_DIR).save('model_final');
