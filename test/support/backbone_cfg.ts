import { type Config, getCfg } from '../../src/config/index.js';

/** The defaults with options of `MODEL.BACKBONE`, and any others by their whole name. */
export function backboneCfg(options: Record<string, unknown>, others: Record<string, unknown> = {}): Config {
  const cfg = getCfg();
  cfg.mergeFromList(Object.entries(options).flatMap(([key, value]) => [`MODEL.BACKBONE.${key}`, value]));
  cfg.mergeFromList(Object.entries(others).flat());
  return cfg;
}
