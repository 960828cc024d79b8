import { noGrad } from '../autograd.js';
import { Device, type DeviceLike } from '../device.js';
import { DType } from '../dtype.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import type { AnyModule } from './module.js';

/** Where and to what `Module.to` converts. */
export interface ModuleTarget {
  device?: DeviceLike;
  /** Applied to floating-point parameters and buffers only. Must be a floating-point type. */
  dtype?: DType;
  /** `'channels_last'` lays out 4-dimensional parameters and buffers so. */
  memoryFormat?: 'contiguous_format' | 'preserve_format' | 'channels_last';
  nonBlocking?: boolean;
}

/** Converts the parameters (in place, with their gradients) and the buffers of a module and all below it. */
export function convertModule(module: AnyModule, target: DeviceLike | DType | ModuleTarget): void {
  const { device, dtype, memoryFormat, nonBlocking = false } = asTarget(target);
  if (dtype !== undefined && !dtype.isFloatingPoint) {
    throw new TypeError(`Module.to: only floating-point dtypes are accepted, got ${dtype.name}`);
  }
  const convert = (t: Tensor): Tensor => {
    const moved = t.to({ device, dtype: t.dtype.isFloatingPoint ? dtype : undefined, nonBlocking });
    return memoryFormat !== undefined && memoryFormat !== 'preserve_format' && t.dim() === 4
      ? moved.contiguous({ memory_format: memoryFormat })
      : moved;
  };
  noGradScope(() => {
    const done = new Map<Tensor, Tensor>();
    for (const m of module.modules()) {
      for (const [, parameter] of m.ownParameters()) {
        if (done.has(parameter)) continue;
        done.set(parameter, parameter);
        const grad = parameter.grad;
        parameter.setData(convert(parameter.detach()));
        if (grad !== null) {
          const requiresGrad = grad.requiresGrad;
          parameter.grad = convert(grad.detach()).requiresGrad_(requiresGrad);
        }
      }
      for (const [name, buffer] of m.ownBuffers()) {
        let converted = done.get(buffer);
        if (converted === undefined) {
          converted = convert(buffer);
          done.set(buffer, converted);
        }
        (m as unknown as Record<string, Tensor>)[name] = converted;
      }
    }
  });
}

function noGradScope(body: () => void): void {
  noGrad(() => scope(body));
}

function asTarget(target: DeviceLike | DType | ModuleTarget): ModuleTarget {
  if (typeof target === 'string' || target instanceof Device) return { device: target };
  if (target instanceof DType) return { dtype: target };
  return target;
}
