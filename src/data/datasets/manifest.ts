import { existsSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse } from 'csv-parse/sync';
import { numberedLines } from './files.js';
import { isPart, OwnDataset, type OwnDatasetOptions, type OwnItem, PARTS } from './own.js';

const HELP =
  'Expected: columns path and identity, and where they are known camera and split (train, query and gallery, or train ' +
  'and test); CSV with a header (parted by commas, semicolons or tabs), or JSONL, an object a line. Paths are relative ' +
  'to the list.';

type Row = { values: Readonly<Record<string, unknown>>; line: number };

/**
 * A list of one's own pictures (`manifest:/path.csv`, `.tsv` or `.jsonl`) with the columns `path`, `identity`, and
 * optionally `camera` and `split`; others are left alone.
 */
export class ManifestDataset extends OwnDataset {
  readonly #file: string;

  constructor(file: string, options: OwnDatasetOptions = {}) {
    super(`manifest:${file}`, options);
    this.#file = file;
    this.require([file], HELP);
  }

  protected override readItems(): OwnItem[] {
    const rows = /\.(jsonl|ndjson)$/i.test(this.#file) ? this.#readLines() : this.#readCsv();
    if (rows.length === 0) throw new Error(`${this.title}: no pictures in it.\n${HELP}`);
    const items = rows.map((row) => this.#item(row));
    this.#sameForAll(items, rows, 'camera', ({ camera }) => camera !== undefined);
    this.#sameForAll(items, rows, 'split', ({ part }) => part !== undefined);
    return items;
  }

  #readCsv(): Row[] {
    try {
      const text = readFileSync(this.#file, 'utf8');
      const header = text.slice(0, text.search(/\n|$/));
      const records = parse(text, {
        bom: true,
        columns: true,
        delimiter: ['\t', ';'].find((one) => header.includes(one)) ?? ',',
        info: true,
        skip_empty_lines: true,
        trim: true,
      }) as unknown as { record: Record<string, string>; info: { lines: number } }[];
      return records.map(({ record, info }) => ({ values: record, line: info.lines }));
    } catch (error) {
      throw new Error(`${this.title}: ${(error as Error).message}\n${HELP}`);
    }
  }

  #readLines(): Row[] {
    return numberedLines(this.#file).map(({ line: text, number: line }) => {
      let values: unknown;
      try {
        values = JSON.parse(text);
      } catch {
        values = undefined;
      }
      if (typeof values !== 'object' || values === null || Array.isArray(values)) {
        throw new Error(`${this.title}: line ${line} is not a JSON object.\n${HELP}`);
      }
      return { values: values as Record<string, unknown>, line };
    });
  }

  #item({ values, line }: Row): OwnItem {
    const text = (column: string): string | undefined => {
      const value = values[column];
      if (value === undefined || value === null || value === '') return undefined;
      if (typeof value === 'string' || typeof value === 'number') return String(value);
      throw new Error(`${this.title}: line ${line}: ${column} must be text or a number`);
    };
    const needed = (column: string): string => {
      const value = text(column);
      if (value !== undefined) return value;
      const columns = Object.keys(values).join(', ');
      throw new Error(`${this.title}: line ${line} has no ${column} (its columns: ${columns}).\n${HELP}`);
    };
    const path = resolve(dirname(this.#file), needed('path'));
    if (!existsSync(path)) throw new Error(`${this.title}: line ${line}: '${path}' does not exist`);
    const part = text('split');
    if (part !== undefined && !isPart(part)) {
      throw new Error(`${this.title}: line ${line}: split is '${part}', but can only be ${PARTS.join(', ')}`);
    }
    return { path, identity: needed('identity'), camera: text('camera'), part };
  }

  #sameForAll(
    items: readonly OwnItem[],
    rows: readonly Row[],
    column: string,
    has: (item: OwnItem) => boolean,
  ): void {
    const odd = items.findIndex((item) => has(item) !== has(items[0]));
    if (odd < 0) return;
    const [without, having] = has(items[0]) ? [odd, 0] : [0, odd];
    throw new Error(
      `${this.title}: line ${rows[having].line} has a ${column}, line ${rows[without].line} has none: give all one, or none`,
    );
  }
}
