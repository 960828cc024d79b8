import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';
import { goldenJson } from './golden.js';

/** A YAML file's content; scalars are the text that stood in the file. */
type Written = string | Written[] | { [key: string]: Written };

/**
 * FastReID's own configuration files, in a temporary folder that is removed after the tests: from their paths in
 * its repository to their paths here.
 */
export function fastreidConfigs(): Map<string, string> {
  const folder = mkdtempSync(join(tmpdir(), 'fastreid-configs-'));
  after(() => rmSync(folder, { recursive: true }));
  const paths = new Map<string, string>();
  for (const [name, content] of Object.entries(goldenJson<Written>('fastreid_configs'))) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${yaml(content)}\n`);
    paths.set(name, path);
  }
  return paths;
}

/** Flow style, in which the same text of a scalar means the same as in FastReID's block style. */
function yaml(content: Written): string {
  if (Array.isArray(content)) return `[${content.map(yaml).join(', ')}]`;
  if (typeof content === 'object') {
    const lines = Object.entries(content).map(([key, value]) => `${key}: ${yaml(value)}`);
    return `{${lines.join(',\n')}}`;
  }
  // A text that flow style would take apart, a Python tuple say, was a string already.
  return /^[\w./~+-][\w./~ +-]*$/.test(content) ? content : JSON.stringify(content);
}
