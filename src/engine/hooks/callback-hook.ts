import { HookBase, type HookState, type TrainerBase } from '../train-loop.js';

type Callback = (trainer: TrainerBase) => void | Promise<void>;

export interface Callbacks {
  /** Key of the state in checkpoints, for a hook with `stateDict`. Default `CallbackHook`. */
  name?: string;
  beforeTrain?: Callback;
  afterTrain?: Callback;
  beforeEpoch?: Callback;
  afterEpoch?: Callback;
  beforeStep?: Callback;
  /** Synchronous: it runs inside the step's memory scope. */
  afterBackward?: (trainer: TrainerBase) => void;
  afterStep?: Callback;
  stateDict?: () => HookState | null;
  loadStateDict?: (state: HookState) => void;
}

/** A hook made of functions, each of which gets the trainer. */
export class CallbackHook extends HookBase {
  private readonly callbacks: Callbacks;

  constructor(callbacks: Callbacks) {
    super();
    this.callbacks = callbacks;
  }

  override get name(): string {
    return this.callbacks.name ?? 'CallbackHook';
  }

  override beforeTrain(): void | Promise<void> {
    return this.callbacks.beforeTrain?.(this.trainer);
  }

  override afterTrain(): void | Promise<void> {
    return this.callbacks.afterTrain?.(this.trainer);
  }

  override beforeEpoch(): void | Promise<void> {
    return this.callbacks.beforeEpoch?.(this.trainer);
  }

  override afterEpoch(): void | Promise<void> {
    return this.callbacks.afterEpoch?.(this.trainer);
  }

  override beforeStep(): void | Promise<void> {
    return this.callbacks.beforeStep?.(this.trainer);
  }

  override afterBackward(): void {
    this.callbacks.afterBackward?.(this.trainer);
  }

  override get watchesBackward(): boolean {
    return this.callbacks.afterBackward !== undefined;
  }

  override afterStep(): void | Promise<void> {
    return this.callbacks.afterStep?.(this.trainer);
  }

  override stateDict(): HookState | null {
    return this.callbacks.stateDict?.() ?? null;
  }

  override loadStateDict(state: HookState): void {
    this.callbacks.loadStateDict?.(state);
  }
}
