import { hostname } from 'node:os';
import { join } from 'node:path';
import { AppendedFile } from '../../appended-file.js';
import { type EventWriter, getEventStorage, type Picture } from '../events.js';
import { type EventMessage, encodeEvent, frameRecord, type SummaryValue } from './event-file.js';

/** Told apart by this where one process opens several files within a second. */
let opened = 0;

/**
 * Writes scalars, histograms and pictures to a new event file in `folder`, for `tensorboard --logdir`. Scalars are
 * those of metrics.json: medians over `window` values where they are noisy. Each record is whole or, after a crash,
 * the last one of the file, which TensorBoard leaves out. Where it cannot be written, a full disk above all, `write`
 * throws, and the file holds the records that were there before.
 *
 * With a `startIter` above 0, what earlier files of the folder say of that and later iterations is declared void:
 * after a resume TensorBoard shows the run as if it had never stopped.
 */
export class TensorBoardWriter implements EventWriter {
  private readonly file: AppendedFile;
  private readonly window: number;
  private lastScalars: number;

  constructor(folder: string, { window = 20, startIter = 0 }: { window?: number; startIter?: number } = {}) {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, '0');
    const name = `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${opened++}`;
    this.file = new AppendedFile(join(folder, name), 'ax');
    this.window = window;
    this.lastScalars = startIter - 1;
    const wallTime = Date.now() / 1000;
    const first: EventMessage[] = [{ wallTime, step: 0, fileVersion: 'brain.Event:2' }];
    if (startIter > 0) first.push({ wallTime, step: startIter, sessionStart: true });
    this.append(first);
  }

  /** The file that is written to. */
  get path(): string {
    return this.file.path;
  }

  async write(): Promise<void> {
    const storage = getEventStorage();
    const steps = new Map<number, SummaryValue[]>();
    const add = (step: number, value: SummaryValue): void => {
      const values = steps.get(step);
      if (values) values.push(value);
      else steps.set(step, [value]);
    };
    let last = this.lastScalars;
    for (const [tag, [scalar, step]] of storage.latestWithSmoothing(this.window)) {
      if (step <= this.lastScalars) continue;
      last = Math.max(last, step);
      add(step, { tag, scalar });
    }
    for (const { name, iteration, histogram } of storage.histograms()) {
      add(iteration, { tag: name, histogram });
    }
    // Read before the first await: the storage is emptied when all writers are done.
    const pictures = [...storage.pictures()];
    for (const { name, iteration, picture } of pictures) {
      const { width, height, channels } = picture;
      add(iteration, { tag: name, image: { width, height, channels, png: await encodePng(picture) } });
    }
    if (steps.size === 0) return;
    const wallTime = Date.now() / 1000;
    const inOrder = [...steps].sort(([a], [b]) => a - b);
    this.append(inOrder.map(([step, values]) => ({ wallTime, step, values })));
    this.lastScalars = last;
  }

  close(): void {
    this.file.close();
  }

  private append(events: readonly EventMessage[]): void {
    this.file.append(Buffer.concat(events.map((event) => frameRecord(encodeEvent(event)))));
  }
}

async function encodePng({ data, width, height, channels }: Picture): Promise<Buffer> {
  const { default: sharp } = await import('sharp');
  return sharp(data, { raw: { width, height, channels } }).png().toBuffer();
}
