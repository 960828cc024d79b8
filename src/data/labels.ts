/** An identity or a camera as a dataset names it. */
export type Label = string | number;

/** Identity of a picture that could not be read (DATALOADER.SKIP_BROKEN); evaluation leaves it out. */
export const UNREAD = -(2 ** 31);

/** Order of labels: numbers by value, before strings by code point; the order that FastReID numbers classes in. */
export function compareLabels(a: Label, b: Label): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'number') return -1;
  if (typeof b === 'number') return 1;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Numbers different labels 0, 1, 2 … in their order. */
export function numberLabels(labels: Iterable<Label>): Map<Label, number> {
  return new Map([...new Set(labels)].sort(compareLabels).map((label, index) => [label, index]));
}
