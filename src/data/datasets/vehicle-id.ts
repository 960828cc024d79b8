import { join } from 'node:path';
import { groupBy } from '../group.js';
import { Rng } from '../rng.js';
import {
  type DatasetClass,
  type DatasetOptions,
  ImageDataset,
  type ImageItem,
  type TestSet,
  type Trial,
} from './base.js';

/** Divisions into queries and gallery that papers average over. */
const TRIALS = 10;
const SEED = 0;

/**
 * PKU VehicleID (Liu et al., CVPR 2016): 13,164 vehicles and 113,346 pictures to train, test lists of 800, 1,600,
 * 2,400 and 13,164 vehicles. One picture of each vehicle, drawn at random, is the gallery, the others are queries;
 * results are averaged over ten such draws, always the same. There are no cameras.
 */
export abstract class VehicleIdSplit extends ImageDataset {
  override readonly datasetName = 'vehicleid';
  /** Vehicles in the test list. */
  protected abstract readonly vehicles: number;
  readonly #images: string;
  readonly #lists: string;
  #test: TestSet | undefined;

  constructor(options: DatasetOptions = {}) {
    super(options);
    const folder = join(this.root, 'vehicleid');
    this.#images = join(folder, 'image');
    this.#lists = join(folder, 'train_test_split');
    const help = [
      'Expected layout:',
      `  ${folder}/`,
      '    image/0000001.jpg …',
      '    train_test_split/train_list.txt test_list_800.txt test_list_1600.txt test_list_2400.txt',
    ];
    this.require([this.#images, join(this.#lists, 'train_list.txt')], help.join('\n'));
  }

  protected override readTrain(): ImageItem[] {
    return this.#read('train_list.txt').map((item) => this.named(item));
  }

  /** Queries of the first trial. */
  protected override readQuery(): ImageItem[] {
    return this.#firstTrial('query');
  }

  /** Gallery of the first trial. */
  protected override readGallery(): ImageItem[] {
    return this.#firstTrial('gallery');
  }

  override testSet(): TestSet {
    if (this.#test === undefined) {
      const images = this.#read(`test_list_${this.vehicles}.txt`);
      const byVehicle = groupBy(images.keys(), (i) => images[i].pid);
      const trials = Array.from({ length: TRIALS }, (_, stream) =>
        drawTrial([...byVehicle.values()], new Rng(SEED, stream)),
      );
      this.#test = { images, trials, cameras: false };
    }
    return this.#test;
  }

  #firstTrial(part: keyof Trial): ImageItem[] {
    const { images, trials } = this.testSet();
    return trials[0][part].map((i) => images[i]);
  }

  #read(name: string): ImageItem[] {
    const list = join(this.#lists, name);
    this.require([list], "It is part of VehicleID's train_test_split.");
    return this.linesOf(list).map(({ line, number }) => {
      const match = /^(\d+) (\d+)$/.exec(line);
      if (match === null) {
        throw new Error(`${this.constructor.name}: line ${number} of '${list}' is not '<picture> <vehicle>'`);
      }
      const [, picture, vehicle] = match;
      const imgPath = join(this.#images, `${picture}.jpg`);
      return { imgPath, pid: Number(vehicle), camid: Number(picture) };
    });
  }
}

/** One picture of each vehicle to the gallery, the others to the queries. */
function drawTrial(vehicles: readonly (readonly number[])[], rng: Rng): Trial {
  const gallery = vehicles.map((pictures) => pictures[rng.integer(pictures.length)]);
  const inGallery = new Set(gallery);
  return { gallery, query: vehicles.flat().filter((i) => !inGallery.has(i)) };
}

function split(name: string, vehicles: number): DatasetClass {
  const dataset = class extends VehicleIdSplit {
    protected override readonly vehicles = vehicles;
  };
  Object.defineProperty(dataset, 'name', { value: name });
  return dataset;
}

/** The test lists by the name that DATASETS.TESTS uses. */
export const VEHICLE_ID: Record<string, DatasetClass> = {
  VehicleID: split('VehicleID', 13164),
  SmallVehicleID: split('SmallVehicleID', 800),
  MediumVehicleID: split('MediumVehicleID', 1600),
  LargeVehicleID: split('LargeVehicleID', 2400),
};
