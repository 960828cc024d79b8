import { HookBase, type HookState, TrainerBase } from '../../src/engine/train-loop.js';
import { setQuiet } from '../../src/logger.js';

setQuiet(true);

/** A trainer whose step does nothing but what it is told, and which notes it. */
export class NotingTrainer extends TrainerBase {
  readonly notes: string[];
  readonly onStep: (trainer: NotingTrainer) => void | Promise<void>;

  constructor(notes: string[] = [], onStep: (trainer: NotingTrainer) => void | Promise<void> = () => {}) {
    super();
    this.notes = notes;
    this.onStep = onStep;
  }

  protected override async runStep(): Promise<void> {
    this.notes.push(`runStep ${this.iter}`);
    await this.onStep(this);
    this.afterBackward();
  }
}

/** Notes every call, with the trainer's counters. */
export class NotingHook extends HookBase {
  readonly label: string;
  readonly notes: string[];

  constructor(label: string, notes: string[]) {
    super();
    this.label = label;
    this.notes = notes;
  }

  private note(event: string): void {
    const { epoch, iter } = this.trainer;
    this.notes.push(`${this.label}.${event} ${epoch}/${iter}`);
  }

  override beforeTrain(): void {
    this.note('beforeTrain');
  }
  override async afterTrain(): Promise<void> {
    this.note(`afterTrain(${this.trainer.outcome})`);
  }
  override async beforeEpoch(): Promise<void> {
    this.note('beforeEpoch');
  }
  override afterEpoch(): void {
    this.note('afterEpoch');
  }
  override beforeStep(): void {
    this.note('beforeStep');
  }
  override afterBackward(): void {
    this.note('afterBackward');
  }
  override afterStep(): void {
    this.note('afterStep');
  }
  override stateDict(): HookState | null {
    return null;
  }
}
