/** What became of each entry when a state dict was loaded. */
export interface LoadReport {
  loaded: string[];
  /** In the model, not in the file. */
  missing: string[];
  /** In the file, not in the model. */
  unexpected: string[];
  /** In both, with different shapes. */
  mismatched: { key: string; expected: number[]; found: number[] }[];
}

export interface ReportLine {
  text: string;
  warn: boolean;
}

/** Lines that sum a report up: how much was loaded, and by layer what was not. */
export function formatLoadReport(report: LoadReport): ReportLine[] {
  const { loaded, missing, unexpected, mismatched } = report;
  const inModel = loaded.length + missing.length + mismatched.length;
  const counts = [
    `loaded ${loaded.length} of the model's ${inModel} entries`,
    `${missing.length} missing`,
    `${unexpected.length} unexpected`,
    `${mismatched.length} of another shape`,
  ];
  const lines: ReportLine[] = [{ text: `Checkpoint: ${counts.join(', ')}`, warn: false }];
  for (const { key, expected, found } of mismatched) {
    const shapes = `[${found.join(', ')}] in the file, [${expected.join(', ')}] in the model`;
    // A model for features alone has no classes; then its classifier has no rows, and none are missed.
    const unneeded = expected.includes(0);
    const classifier = /(^|\.)(heads|classifier|fc)\./.test(key);
    const reason = unneeded ? 'not needed for features' : 'expected when the number of identities differs';
    const note = unneeded || classifier ? ` (${reason})` : '';
    lines.push({ text: `  other shape, skipped: ${key} ${shapes}${note}`, warn: !unneeded });
  }
  for (const layer of byLayer(missing)) {
    lines.push({ text: `  missing in the file, left as initialised: ${layer}`, warn: true });
  }
  for (const layer of byLayer(unexpected)) {
    lines.push({ text: `  in the file only, not used: ${layer}`, warn: false });
  }
  return lines;
}

/** `a.b.weight, a.b.bias, c` → `a.b.{weight, bias}`, `c`. */
export function byLayer(keys: readonly string[]): string[] {
  const layers = new Map<string, string[]>();
  for (const key of keys) {
    const dot = key.lastIndexOf('.');
    const layer = key.slice(0, Math.max(0, dot));
    layers.set(layer, [...(layers.get(layer) ?? []), key.slice(dot + 1)]);
  }
  return [...layers].flatMap(([layer, names]) => {
    if (layer === '') return names;
    return names.length === 1 ? [`${layer}.${names[0]}`] : [`${layer}.{${names.join(', ')}}`];
  });
}
