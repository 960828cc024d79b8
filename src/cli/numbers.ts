import { InvalidArgumentError } from 'commander';

function atLeast(least: number, text: string): number {
  const n = Number(text);
  if (/^\d+$/.test(text) && n >= least) return n;
  throw new InvalidArgumentError(`expected a whole number, ${least} or more.`);
}

/** Parses an option that takes a whole number. */
export const wholeNumber = (text: string): number => atLeast(0, text);

/** Parses an option that takes a whole number of at least one. */
export const positive = (text: string): number => atLeast(1, text);
