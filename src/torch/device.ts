/** Where a tensor lives: `cpu`, `cuda:0`. */
export class Device {
  readonly type: string;
  /** Which one of its type; -1 where the type has only one or the current one is meant. */
  readonly index: number;

  constructor(type: string, index = -1) {
    this.type = type;
    this.index = index;
  }

  toString(): string {
    return this.index < 0 ? this.type : `${this.type}:${this.index}`;
  }

  equals(other: DeviceLike): boolean {
    return this.toString() === other.toString();
  }
}

export type DeviceLike = string | Device;

// c10::DeviceType
const types = [
  'cpu',
  'cuda',
  'mkldnn',
  'opengl',
  'opencl',
  'ideep',
  'hip',
  'fpga',
  'maia',
  'xla',
  'vulkan',
  'metal',
  'xpu',
  'mps',
  'meta',
  'hpu',
  've',
  'lazy',
  'ipu',
  'mtia',
  'privateuseone',
];

export function deviceFromCode(type: number, index: number): Device {
  const name = types[type] ?? `device${type}`;
  return new Device(name, name === 'cpu' ? -1 : index);
}
