import type { Config } from './global.js';
import { CfgNode } from './node.js';

/** A class that is built from options, and knows how to read them from a configuration. */
export interface ConfigurableClass<Options extends object, T> {
  new (options: Options): T;
  fromConfig(cfg: Config): Options;
}

/** Takes a configuration, with options that override what it says, or the options alone. */
export interface Configured<Options extends object, T> {
  (cfg: Config, overrides?: Partial<Options>): T;
  (options: Options): T;
}

/**
 * Lets a class or function that takes plain options be called with a configuration as well, so that layers need not
 * know about configurations:
 *
 *     class Head {
 *       static fromConfig(cfg: Config) { return { scale: cfg.MODEL.HEADS.SCALE, margin: cfg.MODEL.HEADS.MARGIN }; }
 *       constructor(options: { scale: number; margin: number }) { … }
 *     }
 *     const buildHead = configurable(Head);
 *     buildHead(cfg);                      // from the configuration
 *     buildHead(cfg, { scale: 30 });       // with an override
 *     buildHead({ scale: 30, margin: 0 }); // without a configuration
 *
 *     const buildLoss = configurable((options: LossOptions) => …, (cfg) => ({ … }));
 */
export function configurable<Options extends object, T>(
  target: ConfigurableClass<Options, T>,
): Configured<Options, T>;
export function configurable<Options extends object, T>(
  target: (options: Options) => T,
  fromConfig: (cfg: Config) => Options,
): Configured<Options, T>;
export function configurable<Options extends object, T>(
  target: ConfigurableClass<Options, T> | ((options: Options) => T),
  fromConfig?: (cfg: Config) => Options,
): Configured<Options, T> {
  const read = fromConfig ?? ((cfg: Config) => (target as ConfigurableClass<Options, T>).fromConfig(cfg));
  const build = fromConfig
    ? (target as (options: Options) => T)
    : (options: Options) => new (target as ConfigurableClass<Options, T>)(options);
  return (first: Config | Options, overrides?: Partial<Options>): T =>
    build(first instanceof CfgNode ? { ...read(first as Config), ...overrides } : (first as Options));
}
