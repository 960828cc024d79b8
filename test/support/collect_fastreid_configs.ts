// Collects the settings of FastReID's own configuration files from a checkout, as test/golden/fastreid_configs.json:
//   node dist/test/support/collect_fastreid_configs.js CHECKOUT > test/golden/fastreid_configs.json

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAILSAFE_SCHEMA, load } from 'js-yaml';

const checkout = process.argv[2];
if (checkout === undefined) throw new Error('name the checkout of FastReID');

const files: Record<string, unknown> = {};
for (const folder of ['configs', 'projects']) {
  const found = readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' });
  for (const file of found.filter((name) => /\.ya?ml$/.test(name)).sort()) {
    const path = join(folder, file);
    // Scalars as they are written: what they mean is for the reader under test to say.
    files[path] = load(readFileSync(join(checkout, path), 'utf8'), { schema: FAILSAFE_SCHEMA });
  }
}
process.stdout.write(`${JSON.stringify(files)}\n`);
