/**
 * Operators that are refused by name, with the reason: libtorch itself ends the process, or writes where it must
 * not, for arguments that no cheap check can tell from good ones. Found by test/torch/fuzz.test.ts.
 */
export const unsafeOperators: Readonly<Record<string, string>> = Object.assign(Object.create(null), {});
