// Random number generators: the default ones and one's own.

import type { DeviceLike } from './device.js';
import { native } from './native.js';
import { type Tensor, wrap } from './tensor.js';

const registry = new FinalizationRegistry<number>((handle) => native.freeGenerator(handle));

/** A stream of random numbers with a state of its own. */
export class Generator {
  readonly handle: number;

  constructor(device: DeviceLike = 'cpu', handle?: number) {
    this.handle = handle ?? native.newGenerator(String(device));
    registry.register(this, this.handle);
  }

  /** Starts the stream of a 64-bit seed. */
  manualSeed(seed: number | bigint): this {
    native.generatorSeed(this.handle, seed);
    return this;
  }

  /** The seed that started the stream. */
  initialSeed(): bigint {
    return native.generatorInitialSeed(this.handle);
  }

  /** The whole state, a uint8 tensor, the same bytes as Python's. */
  getState(): Tensor {
    return wrap(native.generatorGetState(this.handle));
  }

  setState(state: Tensor): this {
    native.generatorSetState(this.handle, state.handle);
    return this;
  }
}

const defaults = new Map<string, Generator>();

/** The generator that operators use when none is given. */
export function defaultGenerator(device: DeviceLike = 'cpu'): Generator {
  // `cuda` is another device after `setDevice`.
  const name = String(device) === 'cuda' ? `cuda:${native.cuda?.currentDevice() ?? 0}` : String(device);
  let generator = defaults.get(name);
  if (generator === undefined) {
    generator = new Generator(name, native.defaultGenerator(name));
    defaults.set(name, generator);
  }
  return generator;
}

/** Seeds the default generators of all devices. */
export function manualSeed(seed: number | bigint): void {
  native.manualSeed(seed);
}

/** State of a device's default generator; a uint8 tensor on the CPU. */
export function getRngState(device: DeviceLike = 'cpu'): Tensor {
  return defaultGenerator(device).getState();
}

export function setRngState(state: Tensor, device: DeviceLike = 'cpu'): void {
  defaultGenerator(device).setState(state);
}
