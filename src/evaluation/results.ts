/** Measures by name, in the order in which they are printed; percentages from 0 to 100. */
export type Results = Record<string, number>;

/** Results of one test set, or of several by name. */
export type NestedResults = { [name: string]: number | NestedResults };

/** `{ a: { b: 1 }, c: 2 }` → `{ 'a/b': 1, c: 2 }`. Throws, naming the path, on anything but numbers. */
export function flattenResults(results: NestedResults): Results {
  const flat: Results = {};
  for (const [key, value] of Object.entries(results)) {
    if (typeof value === 'number') flat[key] = value;
    else if (typeof value === 'object' && value !== null) {
      for (const [inner, v] of Object.entries(flattenResults(value))) flat[`${key}/${inner}`] = v;
    } else throw new Error(`results must be numbers by name; '${key}' is ${String(value)}`);
  }
  return flat;
}

/**
 * A table with one row a data set, which spreadsheets and Markdown take as it is:
 *
 * ```
 * | Dataset    | Rank-1 | Rank-5 | … |
 * |:-----------|:-------|:-------|:--|
 * | Market1501 | 94.42  | 98.13  | … |
 * ```
 */
export function resultsTable(byDataset: Record<string, Results>): string {
  const names = Object.keys(byDataset);
  const columns = [...new Set(names.flatMap((name) => Object.keys(byDataset[name])))];
  const rows = [
    ['Dataset', ...columns],
    ...names.map((name) => [name, ...columns.map((c) => byDataset[name][c]?.toFixed(2) ?? '')]),
  ];
  return pipeTable(rows);
}

/** Rows, the first of them the head, as a Markdown table. */
export function pipeTable(rows: readonly string[][]): string {
  const widths = rows[0].map((_, c) => Math.max(...rows.map((row) => row[c].length)));
  const line = (cells: string[]): string => `| ${cells.map((x, c) => x.padEnd(widths[c])).join(' | ')} |`;
  const rule = `|${widths.map((w) => `:${'-'.repeat(w + 1)}`).join('|')}|`;
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join('\n');
}
