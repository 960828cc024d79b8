// Saves an index again and again, each time of other features and paths, until killed; prints a line after the first.
import { GalleryIndex } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

for (let save = 0; ; save++) {
  using index = new GalleryIndex(500, { metric: 'euclidean' });
  torch.scope(() =>
    index.add(
      torch.full([4000, 500], save),
      Array.from({ length: 4000 }, (_, i) => ({ path: `${save}/${i}` })),
    ),
  );
  index.save(process.argv[2]);
  if (save === 0) process.stdout.write('saved\n');
}
