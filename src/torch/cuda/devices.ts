import { Device, type DeviceLike } from '../device.js';
import { native } from '../native.js';
import { endingWith, refusePromise } from '../synchronous.js';
import { requireCuda } from './native.js';

/** A CUDA device by its number, or as `cuda` (the current one) or `cuda:N`. */
export type CudaDevice = number | DeviceLike;

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

/** The number of the device that `cuda` means. */
export function currentDevice(): number {
  return requireCuda().currentDevice();
}

/** Makes `cuda` mean another device from here on. */
export function setDevice(device: CudaDevice): void {
  requireCuda().setDevice(deviceIndex(device));
}

/** Runs `body`, which is synchronous, with `cuda` meaning another device. */
export function withDevice<T>(device: CudaDevice, body: () => T): T {
  const cuda = requireCuda();
  const before = cuda.currentDevice();
  cuda.setDevice(deviceIndex(device));
  return endingWith(
    () => refusePromise(body(), 'withDevice'),
    () => cuda.setDevice(before),
  );
}

/** Waits until a device has done all that it was given. JavaScript stands still meanwhile. */
export function synchronize(device: CudaDevice = 'cuda'): void {
  requireCuda().synchronize(deviceIndex(device));
}

export interface DeviceProperties {
  /** `NVIDIA H100 80GB HBM3`. */
  name: string;
  /** Compute capability, [9, 0]. */
  capability: [major: number, minor: number];
  /** Bytes. */
  totalMemory: number;
  multiProcessors: number;
  /** Bytes. */
  l2CacheSize: number;
}

export function getDeviceProperties(device: CudaDevice = 'cuda'): DeviceProperties {
  const { major, minor, ...rest } = requireCuda().properties(deviceIndex(device));
  return { ...rest, capability: [major, minor] };
}

/** Whether a device computes in bfloat16 by itself: those from compute capability 8.0 on. */
export function isBf16Supported(device: CudaDevice = 'cuda'): boolean {
  return getDeviceProperties(device).capability[0] >= 8;
}

/** @throws TypeError for what is no CUDA device */
export function deviceIndex(device: CudaDevice): number {
  if (typeof device === 'number') return device;
  const text = device instanceof Device ? device.toString() : device;
  const match = /^cuda(?::(\d+))?$/.exec(text);
  if (!match) throw new TypeError(`a CUDA device is expected ('cuda', 'cuda:0', 0), not '${text}'`);
  return match[1] === undefined ? requireCuda().currentDevice() : Number(match[1]);
}
