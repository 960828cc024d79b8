/**
 * The toolbox as a library: configuration, data, models, training, evaluation. libtorch itself is
 * `reid-native/torch`.
 */
export * from './config/index.js';
export * from './data/index.js';
export * from './engine/index.js';
export * from './evaluation/index.js';
export { logger } from './logger.js';
export * from './modeling/index.js';
export { Registry } from './registry.js';
export * from './retrieval/index.js';
export * from './solver/index.js';
