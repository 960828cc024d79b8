// Every operator as a function: the generated ones, and those that need a JavaScript face of their own.

export {
  arange,
  empty,
  eye,
  fromBuffer,
  fromTypedArray,
  full,
  linspace,
  ones,
  rand,
  randint,
  randn,
  randperm,
  tensor,
  zeros,
} from './factories.js';
export * from './generated/ops.js';
