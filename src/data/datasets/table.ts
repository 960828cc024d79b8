/** Markdown table, left-aligned, columns two wider than their headers. */
export function pipeTable(headers: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headers.map((header, i) => Math.max(header.length + 2, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  const rule = `|${widths.map((width) => `:${'-'.repeat(width + 1)}`).join('|')}|`;
  return [line(headers), rule, ...rows.map(line)].join('\n');
}
