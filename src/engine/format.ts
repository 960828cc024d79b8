/** `h:mm:ss`, with days in front when there are any: `2 days, 3:04:05`. */
export function formatDuration(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  const days = Math.floor(total / 86_400);
  const clock = `${Math.floor((total % 86_400) / 3600)}:${two(Math.floor((total % 3600) / 60))}:${two(total % 60)}`;
  return days === 0 ? clock : `${days} day${days === 1 ? '' : 's'}, ${clock}`;
}

/** Four significant digits without trailing zeros, as in `4.897`, `0.3049`, `1.2e-05`. */
export function formatShort(x: number): string {
  if (!Number.isFinite(x)) return String(x);
  const magnitude = Math.abs(x);
  if (x !== 0 && (magnitude < 1e-4 || magnitude >= 1e5)) {
    return x.toExponential(3).replace(/\.?0+e/, 'e');
  }
  return String(Number(x.toPrecision(4)));
}

/** Two decimals and an exponent: `3.50e-04`. */
export function formatLr(x: number): string {
  return x.toExponential(2).replace(/e([+-])(\d)$/, 'e$10$2');
}

/** Rows as lines of text: the first column to the left, all others to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
    )
    .join('\n');
}
