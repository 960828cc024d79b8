/** Pieces of SVG as text. No document model: charts are drawn where there is no browser. */

export type Attributes = Readonly<Record<string, string | number | undefined>>;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** What XML cannot hold at all, even escaped: most control characters and halves of surrogate pairs. */
const UNREPRESENTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must go.
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|\p{Surrogate}/gu;

/** Text for SVG or HTML, in an element or in a quoted attribute. */
export function escapeText(text: string): string {
  return text.replace(UNREPRESENTABLE, '\ufffd').replace(/[&<>"']/g, (char) => ENTITIES[char]);
}

/** Two decimals are finer than any screen; trailing zeros only make files longer. */
const number = (value: number): string => String(Math.round(value * 100) / 100);

/** `<name key="value" …>children</name>`. Attributes are escaped and those undefined left out; children are markup. */
export function element(name: string, attributes: Attributes = {}, ...children: string[]): string {
  const parts = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) => ` ${key}="${typeof value === 'number' ? number(value) : escapeText(String(value))}"`,
    );
  const open = `<${name}${parts.join('')}`;
  return children.length === 0 ? `${open}/>` : `${open}>${children.join('')}</${name}>`;
}

/** A line of text with its baseline at (x, y). */
export function textAt(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element('text', { x, y, ...attributes }, escapeText(text));
}

export const FONT = 'Helvetica, Arial, sans-serif';

/**
 * Width in pixels that text takes, roughly: sans-serif letters are little more than half as wide as high, and
 * exact widths would need the font.
 */
export function textWidth(text: string, size: number): number {
  return [...text].length * size * 0.58;
}

/** Text cut at its middle so that it is no wider than `width` pixels; of file names, both ends tell most. */
export function fitText(text: string, width: number, size: number): string {
  if (textWidth(text, size) <= width) return text;
  const letters = [...text];
  const room = Math.max(2, Math.floor(width / (size * 0.58)) - 1);
  const head = Math.floor(room / 2);
  return `${letters.slice(0, head).join('')}…${letters.slice(letters.length - (room - head)).join('')}`;
}

/** A whole picture: `children` on white, with a name for those who cannot see it. */
export function document(width: number, height: number, name: string, ...children: string[]): string {
  const size = { width: Math.round(width), height: Math.round(height) };
  return element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      ...size,
      viewBox: `0 0 ${size.width} ${size.height}`,
      role: 'img',
      'aria-label': name,
      'font-family': FONT,
      'font-size': 12,
    },
    element('rect', { ...size, fill: '#ffffff' }),
    ...children,
  );
}
