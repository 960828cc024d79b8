/**
 * Embeds a folder of images, then finds for each query the most similar of them.
 *
 *   node dist/examples/embed_and_search.js --config-file logs/demo/emoji_r18/config.yaml \
 *       --weights logs/demo/emoji_r18/model_final.pth --gallery FOLDER query.jpg …
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DefaultPredictor, GalleryIndex, getCfg } from 'reid-native';

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
const features = await predictor.embed(gallery);
const index = new GalleryIndex(features.shape[1]);
index.add(
  features,
  gallery.map((path) => ({ path })),
);
const found = index.search(await predictor.embed(queries), Number(flags.top));
for (const [q, query] of queries.entries()) {
  console.log(query);
  for (const { distance, path } of found[q]) console.log(`  ${(1 - distance).toFixed(4)}  ${path}`);
}
