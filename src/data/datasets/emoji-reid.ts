import type { DatasetOptions } from './base.js';
import { MarketLayout } from './market1501.js';

/** Folder of the demo set under the datasets root. */
export const EMOJI_FOLDER = 'emoji-reid';

/**
 * The demo set, cross-vendor emoji re-identification: identity = emoji, camera = the vendor that drew it. 629
 * identities and 3,686 pictures to train, 563 queries (OpenMoji), 2,748 gallery pictures, 128×128. Made by
 * `reid-native prepare emoji`.
 */
export class EmojiReID extends MarketLayout {
  constructor(options: DatasetOptions = {}) {
    super(
      { datasetName: 'emoji', folder: EMOJI_FOLDER, howToGet: 'Run `reid-native prepare emoji` to make it.' },
      options,
    );
  }
}
