export interface PngOptions {
  /** Pixels of the picture for each of the SVG's; default 2, which is sharp on every screen. */
  scale?: number;
}

/** SVG as a PNG file's bytes. Letters come from the machine's fonts: without any, they are missing. */
export async function renderPng(svg: string, { scale = 2 }: PngOptions = {}): Promise<Buffer> {
  const { default: sharp } = await import('sharp');
  return sharp(Buffer.from(svg), { density: 72 * scale })
    .png()
    .toBuffer();
}
