/**
 * Keys that FastReID does not have, with their defaults, which leave its behaviour as it is. A dump leaves them out
 * while they are at their default, so that FastReID reads it.
 */
export const OUR_KEYS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['COMPAT', ''],
  ['DATALOADER.CACHE', ''],
  ['DATALOADER.CACHE_GIB', 4],
  ['DATALOADER.SKIP_BROKEN', false],
  ['DATASETS.OWN.TEST_SHARE', 0.5],
  ['DATASETS.OWN.SEED', 0],
  ['DATASETS.OWN.CAMERA_PATTERN', '_c(\\d+)'],
  ['MODEL.BACKBONE.NORM_SPLIT', 1],
  ['MODEL.BACKBONE.SIE_CAMERAS', 0],
  ['MODEL.BACKBONE.TOKENS', 'cls'],
  ['MODEL.HEADS.NORM_SPLIT', 1],
  ['MODEL.MEMORY_FORMAT', 'auto'],
  ['SOLVER.AMP.DTYPE', 'auto'],
  ['SOLVER.EMA.ENABLED', false],
  ['SOLVER.EMA.MOMENTUM', 0.999],
  ['SOLVER.SWA.ENABLED', false],
  ['SOLVER.SWA.START_EPOCH', 0],
  ['SOLVER.SWA.PERIOD', 1],
  ['SOLVER.SWA.LR_FACTOR', 0.5],
  ['TEST.BOOTSTRAP', 0],
  ['TEST.CAMERA_PAIRS', false],
  ['TEST.MEMORY_BUDGET', 256],
  ['TEST.RANKS', [1, 5, 10]],
  ['TEST.RETRIEVAL.ENABLED', false],
  ['TEST.RETRIEVAL.RECALLS', [1, 2, 4, 8]],
  ['TEST.SINGLE_SHOT', false],
]);
