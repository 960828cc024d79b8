// What native/picture_program.cc does to a picture, written down as numbers. The codes are those of its enum.

const CODES = {
  resize: 1,
  resizeShorter: 2,
  resizedCrop: 3,
  centerCrop: 4,
  padAndCrop: 5,
  mirror: 6,
  affine: 7,
  brightness: 8,
  contrast: 9,
  saturation: 10,
  turnHue: 11,
  sharpness: 12,
  autocontrast: 13,
  equalize: 14,
  invert: 15,
  posterize: 16,
  solarize: 17,
  mix: 18,
  erase: 19,
} as const;

const PADDINGS = ['constant', 'edge', 'reflect', 'symmetric'] as const;
const FILTERS = ['nearest', 'bilinear', 'bicubic'] as const;

/** What is put around a picture: black, its border, or its mirror image without or with the border itself. */
export type PaddingMode = (typeof PADDINGS)[number];
export const PADDING_MODES: readonly string[] = PADDINGS;
export type ImageFilter = (typeof FILTERS)[number];

/** Shapes for a random resized crop; see {@link ImageProgram.resizedCrop}. */
export interface CropShapes {
  /** Candidates in order: area as a part of the picture's, and width ÷ height. The first that fits is taken. */
  shapes: readonly (readonly [area: number, ratio: number])[];
  /** Place of the piece among those it can have, each in [0, 1): from the top, from the left. */
  place: readonly [number, number];
  /** Least and greatest width ÷ height of the piece taken from the middle when no candidate fits. */
  ratios: readonly [number, number];
}

/** An affine map and how to draw by it; see {@link ImageProgram.affine}. */
export interface AffineMap {
  /** [a, b, d, e]: column (x, y) of the result shows the picture at (a x + b y, d x + e y), about the centre. */
  matrix: readonly [number, number, number, number];
  /** Fixed point of the matrix as parts of width and height; default the middle, [0.5, 0.5]. */
  center?: readonly [number, number];
  /** Added to where in the picture is looked, in pixels: [x, y]. */
  shift?: readonly [number, number];
  /** The same, as parts of width and height. */
  relativeShift?: readonly [number, number];
  /** Default `nearest`. */
  filter?: ImageFilter;
  /** Grey level, 0–255, of what lies outside the picture; default 0. */
  fill?: number;
}

/**
 * What to do with one picture of RGB bytes, step after step, on a native thread. Each method adds a step and
 * returns the program. Steps give byte for byte what PIL (and torchvision on PIL pictures) gives; sizes are in
 * pixels, [height, width].
 */
export class ImageProgram {
  readonly #numbers: number[] = [];

  /** The program as native code wants it. */
  encode(): Float64Array {
    return Float64Array.from(this.#numbers);
  }

  #add(name: keyof typeof CODES, ...values: number[]): this {
    this.#numbers.push(CODES[name], ...values);
    return this;
  }

  /** Antialiased bicubic. */
  resize(height: number, width: number): this {
    return this.#add('resize', height, width);
  }

  /** So that the shorter side has `side` pixels. */
  resizeShorter(side: number): this {
    return this.#add('resizeShorter', side);
  }

  /** A piece of the picture, resized. */
  resizedCrop(height: number, width: number, { shapes, place, ratios }: CropShapes): this {
    return this.#add('resizedCrop', height, width, ...ratios, ...place, shapes.length, ...shapes.flat());
  }

  /** The middle; what the picture lacks is black. */
  centerCrop(height: number, width: number): this {
    return this.#add('centerCrop', height, width);
  }

  /** The piece at (`top`, `left`) of the picture with `padding` pixels added on every side. */
  padAndCrop(
    padding: number,
    mode: PaddingMode,
    [top, left]: readonly [number, number],
    [height, width]: readonly [number, number],
  ): this {
    return this.#add('padAndCrop', padding, PADDINGS.indexOf(mode), top, left, height, width);
  }

  /** Left becomes right. */
  mirror(): this {
    return this.#add('mirror');
  }

  affine({
    matrix,
    center = [0.5, 0.5],
    shift,
    relativeShift,
    filter = 'nearest',
    fill = 0,
  }: AffineMap): this {
    return this.#add(
      'affine',
      FILTERS.indexOf(filter),
      fill,
      ...center,
      ...matrix,
      ...(shift ?? [0, 0]),
      ...(relativeShift ?? [0, 0]),
    );
  }

  /** 1 leaves the picture, 0 makes it black. */
  brightness(factor: number): this {
    return this.#add('brightness', factor);
  }

  /** 1 leaves the picture, 0 makes it its mean grey. */
  contrast(factor: number): this {
    return this.#add('contrast', factor);
  }

  /** 1 leaves the picture, 0 makes it grey. */
  saturation(factor: number): this {
    return this.#add('saturation', factor);
  }

  /** Turns all hues by `turn` of the circle, −0.5 to 0.5. */
  hue(turn: number): this {
    return this.#add('turnHue', Math.trunc(turn * 255) & 255);
  }

  /** 1 leaves the picture, 0 smooths it. */
  sharpness(factor: number): this {
    return this.#add('sharpness', factor);
  }

  /** Stretches each channel to 0–255. */
  autocontrast(): this {
    return this.#add('autocontrast');
  }

  /** Makes each channel's histogram even. */
  equalize(): this {
    return this.#add('equalize');
  }

  invert(): this {
    return this.#add('invert');
  }

  /** Keeps the highest `bits` (0–8) of each value. */
  posterize(bits: number): this {
    return this.#add('posterize', bits);
  }

  /** Inverts values from `threshold` (0–256) up. */
  solarize(threshold: number): this {
    return this.#add('solarize', threshold);
  }

  /** (1 − `part`) × picture + `part` × Σ weight × (picture after the branch's program). */
  mix(part: number, branches: readonly { weight: number; steps: readonly ImageProgram[] }[]): this {
    this.#add('mix', part, branches.length);
    for (const { weight, steps } of branches) {
      this.#numbers.push(weight, steps.length);
      for (const step of steps) this.#numbers.push(...step.#numbers);
    }
    return this;
  }

  /**
   * Paints a rectangle, once everything else is done: the colour, 0–255 a channel, need not be whole in a float
   * batch.
   */
  erase(
    { top, left, height, width }: { top: number; left: number; height: number; width: number },
    colour: readonly [number, number, number],
  ): this {
    return this.#add('erase', top, left, height, width, ...colour);
  }
}
