import type { AffineMap, PaddingMode } from '../../torch/image-program.js';
import type { Rng } from '../rng.js';
import type { ImageTransform } from './transform.js';

export type Size = readonly [height: number, width: number];
export type Range = readonly [low: number, high: number];

const CROP_ATTEMPTS = 10;

/** Antialiased bicubic resize to [height, width], or, for a number, so that the shorter side has that many pixels. */
export function resize(size: Size | number): ImageTransform {
  return (program) => {
    if (typeof size === 'number') program.resizeShorter(size);
    else program.resize(...size);
  };
}

/**
 * A random piece, resized to `size`: its area is drawn uniformly from `scale` (parts of the picture's), its
 * width ÷ height log-uniformly from `ratio`; up to ten draws until one fits, else the middle. (Szegedy et al.,
 * "Going Deeper with Convolutions", CVPR 2015.)
 */
export function randomResizedCrop(size: Size, scale: Range, ratio: Range): ImageTransform {
  const logs = [Math.log(ratio[0]), Math.log(ratio[1])] as const;
  return (program, rng) => {
    const shapes = Array.from(
      { length: CROP_ATTEMPTS },
      () => [rng.uniform(...scale), Math.exp(rng.uniform(...logs))] as const,
    );
    program.resizedCrop(...size, { shapes, place: [rng.uniform(), rng.uniform()], ratios: ratio });
  };
}

/** The middle of the picture; black where the picture is smaller. */
export function centerCrop(size: Size): ImageTransform {
  return (program) => {
    program.centerCrop(...size);
  };
}

/** Pads pictures of size `from` by `padding` pixels on every side and cuts out a random piece of size `to`. */
export function padAndRandomCrop(padding: number, mode: PaddingMode, from: Size, to: Size): ImageTransform {
  const rooms = [0, 1].map((side) => from[side] + 2 * padding - to[side]);
  if (rooms.some((room) => room < 0)) {
    throw new RangeError(
      `a piece of ${to.join(' × ')} pixels cannot be cut out of ${from.join(' × ')} padded by ${padding}`,
    );
  }
  const most = mode === 'reflect' ? Math.min(...from) - 1 : Math.min(...from);
  if ((mode === 'reflect' || mode === 'symmetric') && padding > most) {
    throw new RangeError(
      `INPUT.PADDING.SIZE ${padding} is too much for ${from.join(' × ')} pixels in mode '${mode}': at most ${most}`,
    );
  }
  return (program, rng) => {
    const [top, left] = rooms.map((room) => rng.integer(room + 1));
    program.padAndCrop(padding, mode, [top, left], to);
  };
}

/** Mirrors the picture with probability `prob`. */
export function randomHorizontalFlip(prob: number): ImageTransform {
  return (program, rng) => {
    if (rng.uniform() < prob) program.mirror();
  };
}

const radians = (degrees: number): number => (degrees * Math.PI) / 180;

/** Turns a picture by `degrees` about its middle, counter-clockwise. */
export function rotation(degrees: number): AffineMap {
  const [cos, sin] = [Math.cos(radians(degrees)), Math.sin(radians(degrees))];
  return { matrix: [cos, -sin, sin, cos] };
}

/** Shears about the top left corner: a pixel shows what is `x` times its row to the right, `y` times its column below. */
export function shearing(x: number, y: number): AffineMap {
  return { matrix: [1, x, y, 1], center: [0, 0] };
}

/** The inverse of: shear along x by `shear` degrees, scale, then turn clockwise by `degrees`, about the middle. */
export function affineMap(degrees: number, scale: number, shear: number): AffineMap {
  const [cos, sin] = [Math.cos(radians(degrees)), Math.sin(radians(degrees))];
  const tan = Math.tan(radians(shear));
  return { matrix: [(cos - sin * tan) / scale, (sin + cos * tan) / scale, -sin / scale, cos / scale] };
}

/** Largest rotation and shear, in degrees, and range of the scale. FastReID has no keys for them. */
const AFFINE = { degrees: 10, scale: [0.9, 1.1] as Range, shear: 0.1 };

/** Turns, scales and shears by random amounts, nearest pixel, black outside. */
export function randomAffine(): ImageTransform {
  const draw = (rng: Rng, most: number): number => rng.uniform(-most, most);
  return (program, rng) => {
    const degrees = draw(rng, AFFINE.degrees);
    const scale = rng.uniform(...AFFINE.scale);
    program.affine(affineMap(degrees, scale, draw(rng, AFFINE.shear)));
  };
}
