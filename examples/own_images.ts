/**
 * One's own images: a folder in Market-1501's shape, registered under a name that a configuration may use.
 *
 *   reid-native train --import dist/examples/own_images.js --config-file configs/demo/emoji_r18.yml \
 *       DATASETS.NAMES '("MyShop",)' DATASETS.TESTS '("MyShop",)'
 *
 * Expects datasets/my-shop/{bounding_box_train,query,bounding_box_test}/<identity>_c<camera>_<anything>.jpg
 */
import { DATASET_REGISTRY, type DatasetOptions, MarketLayout } from 'reid-native';

export class MyShop extends MarketLayout {
  constructor(options: DatasetOptions = {}) {
    const layout = {
      datasetName: 'myshop',
      folder: 'my-shop',
      howToGet: 'Copy the pictures of the shop there.',
    };
    super(layout, options);
  }
}

DATASET_REGISTRY.register('MyShop', MyShop);
