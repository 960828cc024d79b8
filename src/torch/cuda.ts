// What is known of CUDA devices.

import { native } from './native.js';

/** libtorch has CUDA and a device is there. Never throws, with or without a driver. */
export function isAvailable(): boolean {
  return native.deviceInfo().cudaDevices > 0;
}

export function deviceCount(): number {
  return native.deviceInfo().cudaDevices;
}

/** libtorch was built with CUDA, whether or not a device is there. */
export function isBuilt(): boolean {
  return native.deviceInfo().cudaBuilt;
}
