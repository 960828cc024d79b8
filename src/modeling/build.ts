import type { Config } from '../config/index.js';

/** Where a builder says what it did (which weights it loaded): one call a line. */
export type Log = (line: string) => void;

/**
 * What may be registered under a name of the configuration: a class whose static `fromConfig` reads its options
 * from the whole configuration (as for `configurable`), or a function that builds.
 */
export type Builder<T> =
  | { new (options: never): T; fromConfig(cfg: Config, log: Log): object }
  | ((cfg: Config, log: Log) => T);

/** Builds what `builder` stands for. */
export function build<T>(builder: Builder<T>, cfg: Config, log: Log): T {
  if ('fromConfig' in builder) return new builder(builder.fromConfig(cfg, log) as never);
  return builder(cfg, log);
}
