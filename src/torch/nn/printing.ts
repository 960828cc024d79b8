import type { AnyModule } from './module.js';

/** A module as PyTorch prints it. */
export function printModule(module: AnyModule, above: readonly AnyModule[]): string {
  const extra = module.extraRepr();
  const extraLines = extra === '' ? [] : extra.split('\n');
  const childLines: string[] = [];
  for (const [name, child] of module.ownModules()) {
    childLines.push(`(${name}): ${indent(printChild(child, module, above))}`);
  }
  return assemble(module.typeName, extraLines, childLines);
}

/** `Name(…)` with extra text and children as PyTorch lays them out. */
export function assemble(name: string, extraLines: readonly string[], childLines: readonly string[]): string {
  if (childLines.length === 0 && extraLines.length === 0) return `${name}()`;
  if (childLines.length === 0 && extraLines.length === 1) return `${name}(${extraLines[0]})`;
  return `${name}(\n  ${[...extraLines, ...childLines].join('\n  ')}\n)`;
}

/** All lines but the first moved right by two. */
export function indent(text: string): string {
  return text.replaceAll('\n', '\n  ');
}

/** A child's text; a module that is being printed further up is only named, so that a cycle ends. */
export function printChild(child: AnyModule, parent: AnyModule, above: readonly AnyModule[]): string {
  if (child === parent || above.includes(child)) return `<${child.typeName} above>`;
  return child.printWithin([...above, parent]);
}

/** A float as Python writes it: 1e-05, 0.1, 1.0. */
export function pyFloat(x: number): string {
  if (Number.isNaN(x)) return 'nan';
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf';
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) {
    const [mantissa, exponent] = x.toExponential().split('e') as [string, string];
    const sign = exponent.startsWith('-') ? '-' : '+';
    return `${mantissa}e${sign}${exponent.slice(1).padStart(2, '0')}`;
  }
  return Number.isInteger(x) ? `${x.toFixed(0)}.0` : String(x);
}

/** A number, tuple, null, boolean or string as Python's `str` writes it. */
export function pyValue(value: number | string | boolean | null | readonly (number | null)[]): string {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value !== 'object') return String(value);
  return `(${value.map(pyValue).join(', ')}${value.length === 1 ? ',' : ''})`;
}

/** Pattern with `*` (within one dotted part), `**` (any number of parts) and `?` as a regular expression. */
export function globToRegExp(pattern: string): RegExp {
  const parts = pattern.split('.');
  let source = '';
  parts.forEach((part, i) => {
    const last = i === parts.length - 1;
    if (part === '**') {
      source += last ? '.+' : '(?:[^.]+\\.)*';
      return;
    }
    for (const c of part) {
      if (c === '*') source += '[^.]*';
      else if (c === '?') source += '[^.]';
      else source += c.replace(/[\\^$+()|[\]{}]/, '\\$&');
    }
    if (!last) source += '\\.';
  });
  return new RegExp(`^${source}$`);
}
