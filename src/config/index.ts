export { type ConfigurableClass, type Configured, configurable } from './configurable.js';
export { DEFAULTS } from './defaults.js';
export { ConfigError } from './errors.js';
export { type Config, getCfg, getGlobalCfg, setGlobalCfg } from './global.js';
export { decodeString, parseLiteral } from './literal.js';
export { CfgNode, type Definition, type Tree } from './node.js';
export { float, type PyValue, tuple } from './pyvalue.js';
export { assertSupported, type Refusal, unsupported } from './support.js';
