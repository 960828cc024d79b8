import { Registry } from '../../registry.js';
import type { DatasetClass } from './base.js';
import { CUHK03 } from './cuhk03.js';
import { EmojiReID } from './emoji-reid.js';
import { DukeMTMC, Market1501, VeRi } from './market1501.js';
import { MSMT17 } from './msmt17.js';
import { AirportALERT, TRAIN_ONLY } from './train-only.js';
import { VEHICLE_ID } from './vehicle-id.js';
import { VERI_WILD } from './veri-wild.js';

/** Datasets by the name that DATASETS.NAMES and DATASETS.TESTS use. */
export const DATASET_REGISTRY = new Registry<DatasetClass>('dataset');

const DATASETS: Record<string, DatasetClass> = {
  Market1501,
  DukeMTMC,
  MSMT17,
  ...CUHK03,
  VeRi,
  ...VEHICLE_ID,
  ...VERI_WILD,
  AirportALERT,
  ...TRAIN_ONLY,
  EmojiReID,
};
for (const [name, dataset] of Object.entries(DATASETS)) DATASET_REGISTRY.register(name, dataset);
