// Attaches the generated methods to Tensor. Importing this module is what makes `x.add(y)` work.

import { method } from './dispatch.js';
import { methodNames } from './generated/ops.js';
import { Tensor } from './tensor.js';

for (const name of methodNames) {
  Object.defineProperty(Tensor.prototype, name, { value: method(name), writable: true, configurable: true });
}
