/** The command line is wrong: exit code 2, and a hint where help is. Other errors end with 1. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
