/**
 * Embeds a folder of images, then finds for each query the most similar of them.
 *
 *   node dist/examples/embed_and_search.js --config-file logs/demo/emoji_r18/config.yaml \
 *       --weights logs/demo/emoji_r18/model_final.pth --gallery FOLDER query.jpg …
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cosineDistance, DefaultPredictor, getCfg } from 'reid-native';
import * as torch from 'reid-native/torch';

const { values: flags, positionals: queries } = parseArgs({
  options: {
    'config-file': { type: 'string', default: 'logs/demo/emoji_r18/config.yaml' },
    weights: { type: 'string', default: 'logs/demo/emoji_r18/model_final.pth' },
    gallery: { type: 'string', default: '.' },
    top: { type: 'string', default: '5' },
  },
  allowPositionals: true,
});
const cfg = getCfg().mergeFromFile(flags['config-file']);
cfg.MODEL.WEIGHTS = flags.weights;

const folder = flags.gallery;
const gallery = readdirSync(folder)
  .filter((name) => /\.(jpe?g|png|webp)$/i.test(name))
  .sort()
  .map((name) => join(folder, name));

const predictor = await DefaultPredictor.create(cfg);
const galleryFeatures = await predictor.embed(gallery);
const queryFeatures = await predictor.embed(queries);

const k = Math.min(Number(flags.top), gallery.length);
const [distances, indices] = torch.topk(cosineDistance(queryFeatures, galleryFeatures), k, 1, false);
const near = distances.toArray() as number[][];
const at = indices.toArray() as number[][];
for (const [q, query] of queries.entries()) {
  console.log(query);
  for (let i = 0; i < k; i++) console.log(`  ${(1 - near[q][i]).toFixed(4)}  ${gallery[at[q][i]]}`);
}
