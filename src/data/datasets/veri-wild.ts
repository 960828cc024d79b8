import { join } from 'node:path';
import { type DatasetClass, type DatasetOptions, ImageDataset, type ImageItem } from './base.js';
import { numberedLines } from './files.js';

/**
 * VERI-Wild (Lou et al., CVPR 2019): 30,671 vehicles and 277,797 pictures to train; queries and gallery as the lists
 * of 3,000, 5,000 or 10,000 vehicles say; 174 cameras, which `vehicle_info.txt` names.
 */
export abstract class VeRiWildSplit extends ImageDataset {
  override readonly datasetName = 'veriwild';
  /** Vehicles in the test lists. */
  protected abstract readonly vehicles: number;
  readonly #images: string;
  readonly #lists: string;
  #cameras: Map<string, number> | undefined;

  constructor(options: DatasetOptions = {}) {
    super(options);
    const folder = join(this.root, 'VERI-Wild');
    this.#images = join(folder, 'images');
    this.#lists = join(folder, 'train_test_split');
    const lists = ['train_list.txt', 'vehicle_info.txt'].map((name) => join(this.#lists, name));
    const help = [
      'Expected layout:',
      `  ${folder}/`,
      '    images/00001/000001.jpg …',
      '    train_test_split/vehicle_info.txt train_list.txt test_3000.txt test_3000_query.txt …',
    ];
    this.require([this.#images, ...lists], help.join('\n'));
  }

  protected override readTrain(): ImageItem[] {
    return this.#read('train_list.txt').map((item) => this.named(item));
  }

  protected override readQuery(): ImageItem[] {
    return this.#read(`test_${this.vehicles}_query.txt`);
  }

  protected override readGallery(): ImageItem[] {
    return this.#read(`test_${this.vehicles}.txt`);
  }

  #read(name: string): ImageItem[] {
    const list = join(this.#lists, name);
    this.require([list], "It is part of VERI-Wild's train_test_split.");
    this.#cameras ??= this.#readCameras();
    const cameras = this.#cameras;
    return this.linesOf(list).map(({ line, number }) => {
      const match = /^(\d+)\/([^/.]+)/.exec(line);
      if (match === null) {
        throw new Error(`${this.constructor.name}: line ${number} of '${list}' is not <vehicle>/<picture>`);
      }
      const [, vehicle, picture] = match;
      const camid = cameras.get(picture);
      if (camid === undefined) {
        throw new Error(
          `${this.constructor.name}: vehicle_info.txt does not name the camera of ${line} (line ${number} of '${list}')`,
        );
      }
      return { imgPath: join(this.#images, vehicle, `${picture}.jpg`), pid: Number(vehicle), camid };
    });
  }

  /** Cameras by picture; the first line of `vehicle_info.txt` is a header. */
  #readCameras(): Map<string, number> {
    const path = join(this.#lists, 'vehicle_info.txt');
    const cameras = new Map<string, number>();
    for (const { line, number } of numberedLines(path).slice(1)) {
      const match = /^\d+\/([^/;]+);(\d+)/.exec(line);
      if (match === null) {
        throw new Error(
          `${this.constructor.name}: line ${number} of '${path}' is not <vehicle>/<picture>;<camera>;…`,
        );
      }
      cameras.set(match[1], Number(match[2]));
    }
    return cameras;
  }
}

function split(name: string, vehicles: number): DatasetClass {
  const dataset = class extends VeRiWildSplit {
    protected override readonly vehicles = vehicles;
  };
  Object.defineProperty(dataset, 'name', { value: name });
  return dataset;
}

/** The test lists by the name that DATASETS.TESTS uses. */
export const VERI_WILD: Record<string, DatasetClass> = {
  VeRiWild: split('VeRiWild', 10000),
  SmallVeRiWild: split('SmallVeRiWild', 3000),
  MediumVeRiWild: split('MediumVeRiWild', 5000),
  LargeVeRiWild: split('LargeVeRiWild', 10000),
};
