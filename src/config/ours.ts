/**
 * Keys that FastReID does not have, with their defaults, which leave its behaviour as it is. A dump leaves them out
 * while they are at their default, so that FastReID reads it.
 */
export const OUR_KEYS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['COMPAT', ''],
  ['MODEL.BACKBONE.NORM_SPLIT', 1],
  ['MODEL.HEADS.NORM_SPLIT', 1],
]);
