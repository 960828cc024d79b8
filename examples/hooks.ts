/**
 * Looks into a training, and into the model that it leaves. docs/hooks.md quotes this program part by part.
 *
 *   node dist/examples/hooks.js --config-file configs/demo/emoji_r18.yml SOLVER.MAX_EPOCH 1
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  DefaultTrainer,
  drawOver,
  explainPair,
  getCfg,
  HookBase,
  hooks,
  readImage,
  saveCaptured,
} from 'reid-native';
import * as torch from 'reid-native/torch';
import sharp from 'sharp';

const { values: flags, positionals: overrides } = parseArgs({
  options: { 'config-file': { type: 'string', default: 'configs/demo/emoji_r18.yml' } },
  allowPositionals: true,
});
const cfg = getCfg().mergeFromFile(flags['config-file']).mergeFromList(overrides);
const trainer = new DefaultTrainer(cfg);
const { model } = trainer;

/** Scalars, histograms and pictures of one's own. */
class Weights extends HookBase {
  override afterStep(): void {
    const { iter, storage } = this.trainer;
    if (iter % 100 !== 0) return;
    const weight = [...model.parameters()][0]; // of the first convolution, [channels, 3, height, width]
    storage.putScalar('weights/first', Number(weight.norm().item()));
    storage.putHistogram('weights/first', weight); // a tensor of any shape
    storage.putImage('weights/first', weight.select(0, 0).sigmoid()); // [3 or 1, height, width], 0 to 1
  }
}
trainer.registerHooks([new Weights()]);

trainer.registerHooks([
  new hooks.CaptureHook({
    model,
    layers: 'backbone.conv*',
    what: ['output', 'gradOutput'],
    reduce: ['norm', 'histogram'],
    at: 100, // every 100th iteration, or a function of its number
  }),
]);

trainer.registerHooks([
  new hooks.ParameterHealth({ model, every: 100, depth: 2 }), // health/grad_norm/…, health/update_ratio/…
  new hooks.ActivationHealth({ model, layers: 'backbone.*' }), // health/mean/…, health/std/…, health/dead/…
]);

trainer.registerHooks([new hooks.NonFiniteDetector({ model, folder: join(cfg.OUTPUT_DIR, 'nonfinite') })]);

trainer.registerHooks([
  new hooks.AutogradProfiler({
    model,
    when: ({ iter }) => iter === 2,
    folder: join(cfg.OUTPUT_DIR, 'profile'),
  }),
]);

await trainer.train();
await trainer.close();

const paths = trainer.dataLoader.dataset.items.slice(0, 2).map(({ imgPath }) => imgPath);
const pictures = torch.stack(await Promise.all(paths.map((path) => readImage(path)))); // uint8 [2, 3, h, w]
const images = pictures.to(torch.float32).upsample_bilinear2d([64, 64], false);
model.eval();

{
  using capture = new torch.nn.Capture(model, {
    layers: ['backbone.*', 'heads'], // `*` within one part of a name, `**` for several parts
    what: ['output', 'gradOutput'], // input, output, gradInput, gradOutput, gradParameters
    reduce: ['mean', 'channelMean'], // full, mean, std, norm, histogram, channelMean
  });
  capture.attach(); // before this and after detach() the model has no hooks of it
  const features = model.call({ images }) as torch.Tensor;
  features.norm().backward();
  const seen = capture.take();
  for (const each of seen) console.log(torch.nn.captureName(each), each.value.shape);
  saveCaptured(join(cfg.OUTPUT_DIR, 'captured.safetensors'), seen);
}

{
  using capture = new torch.nn.Capture(model, { layers: 'backbone.layer*' });
  capture.attach();
  model.call({ images });
  const picture = images.select(0, 0);
  const strip = [picture.to(torch.uint8)];
  for (const { value } of capture.take()) {
    const map = value.narrow(0, 0, 1).norm(2, [1], true); // over the channels: [1, 1, h, w]
    const large = map.div(map.max()).upsample_bilinear2d([64, 64], false);
    strip.push(drawOver(picture, large.view([64, 64])));
  }
  const data = torch.cat(strip, 2).permute([1, 2, 0]).contiguous().toTypedArray() as Uint8Array;
  const raw = { width: 64 * strip.length, height: 64, channels: 3 } as const;
  await sharp(data, { raw }).png().toFile(join(cfg.OUTPUT_DIR, 'captured.png'));
}

{
  using _names = torch.nameModules(model);
  const trace = join(cfg.OUTPUT_DIR, 'trace.json');
  const { profile } = torch.profile(() => torch.recordRange('features', () => model.call({ images })), {
    trace,
  });
  for (const { path, calls, forward } of profile.modules()) console.log(path, calls, forward); // µs
  for (const { name, calls, self } of profile.table().slice(0, 5)) console.log(name, calls, self); // µs
}

{
  const { similarity, query, match } = explainPair(model, images, 'backbone'); // images [2, 3, height, width]
  // with a model that has embeddings of cameras: explainPair(model, images, 'backbone', camids), int64 [2]
  console.log(similarity, query.activation.shape, match.contribution.shape); // maps [height, width], 0 to 1
}
