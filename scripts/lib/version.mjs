// Which libtorch versions are accepted, and how a version is read.

/** The version that is installed when none is found, and that the tests are run on. */
export const PIN = '2.13.0';

/** First and last accepted release, as [major, minor]. */
export const RANGE = { min: [2, 11], max: [2, 14] };

export const rangeText = `${RANGE.min.join('.')} to ${RANGE.max.join('.')}`;

/** The same range for pip. */
export const pipRange = `torch>=${RANGE.min.join('.')},<${RANGE.max[0]}.${RANGE.max[1] + 1}`;

/**
 * @param {string} text such as '2.13.0+cpu' or '2.14.0a0+git1234'
 * @returns {{major: number, minor: number, patch: number, local: string | null, text: string} | null}
 */
export function parseVersion(text) {
  const match = /^\s*v?(\d+)\.(\d+)(?:\.(\d+))?[^+\s]*(?:\+(\S+))?\s*$/.exec(text);
  if (!match) return null;
  const [, major, minor, patch = '0', local = null] = match;
  return { major: Number(major), minor: Number(minor), patch: Number(patch), local, text: text.trim() };
}

/** Whether a version text lies in the accepted range; patch and local part do not matter. */
export function inRange(text) {
  const version = parseVersion(text);
  if (!version) return false;
  const key = version.major * 1000 + version.minor;
  const [low, high] = [RANGE.min, RANGE.max].map(([major, minor]) => major * 1000 + minor);
  return key >= low && key <= high;
}

/**
 * The version a libtorch's `version.h` defines.
 * @param {string} header the file's text
 * @returns {string | null} such as '2.13.0'
 */
export function headerVersion(header) {
  const part = (name) => new RegExp(`^\\s*#define\\s+TORCH_VERSION_${name}\\s+(\\d+)`, 'm').exec(header)?.[1];
  const parts = [part('MAJOR'), part('MINOR'), part('PATCH')];
  return parts.every((value) => value !== undefined) ? parts.join('.') : null;
}

/**
 * What a Python torch's `version.py` says.
 * @param {string} source the file's text
 * @returns {{version: string | null, cuda: string | null}}
 */
export function pythonVersionFile(source) {
  const version = /^__version__\s*(?::[^=]+)?=\s*['"]([^'"]+)['"]/m.exec(source)?.[1] ?? null;
  const cuda = /^cuda\s*(?::[^=]+)?=\s*['"]([^'"]+)['"]/m.exec(source)?.[1] ?? null;
  return { version, cuda };
}
