import { DEFAULTS } from './defaults.js';
import { CfgNode, type Tree } from './node.js';

/** The whole configuration, typed: `cfg.MODEL.BACKBONE.DEPTH`. */
export type Config = CfgNode & Tree<typeof DEFAULTS>;

const defaults = new CfgNode(DEFAULTS) as Config;

/** A fresh configuration with every key at its default. */
export function getCfg(): Config {
  return defaults.clone();
}

let current: Config = getCfg();

/** Makes a configuration reachable by {@link getGlobalCfg} without passing it along. Meant for quick experiments. */
export function setGlobalCfg(cfg: Config): void {
  current = cfg;
}

/** The configuration last given to {@link setGlobalCfg}; the defaults until then. */
export function getGlobalCfg(): Config {
  return current;
}
