import { HookBase, type TrainerBase } from './train-loop.js';

/** Shows the hooks of a trainer the gradients of another. */
export class Forwarded extends HookBase {
  readonly #outer: TrainerBase;

  constructor(outer: TrainerBase) {
    super();
    this.#outer = outer;
  }

  override get name(): string {
    return this.#watcher?.name ?? super.name;
  }

  override get watchesBackward(): boolean {
    return this.#watcher !== undefined;
  }

  get #watcher(): HookBase | undefined {
    return this.#outer.hooks.find((hook) => hook.watchesBackward);
  }

  override afterBackward(): void {
    this.#outer.afterBackward();
  }
}
