/** What to do where the system's reason alone does not tell. */
const WAYS_OUT: Record<string, string> = {
  ENOSPC: 'make room on that disk, or choose another folder',
  EDQUOT: 'your quota of that disk is used up: remove something, or choose another folder',
  EFBIG: 'a file may not be that large there: choose another disk, or raise `ulimit -f`',
  EROFS: 'that disk can only be read: choose another folder',
};

/**
 * An error of the system, met while `path` was written, with the file's name, what has become of it, and the way out;
 * `code` stays. Any other error is returned as it is.
 *
 * @param left what the file is like, as a sentence without a full stop
 */
export function writeError(path: string, error: unknown, left: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  const wayOut = WAYS_OUT[code];
  const message = `cannot write ${path}: ${error.message}. ${left}${wayOut ? `; ${wayOut}` : ''}`;
  return Object.assign(new Error(message, { cause: error }), { code });
}
