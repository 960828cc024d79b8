export {
  ELU,
  GELU,
  type GeluOptions,
  Hardsigmoid,
  Hardswish,
  type InplaceOptions,
  LeakyReLU,
  Mish,
  PReLU,
  ReLU,
  ReLU6,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
} from './activation.js';
export {
  CAPTURE_KINDS,
  Capture,
  type Captured,
  type CaptureKind,
  type CaptureOptions,
  captureName,
} from './capture.js';
export { chain, ModuleDict, ModuleList, Sequential, type TensorModule } from './container.js';
export { Conv2d, type Conv2dOptions, type Size2 } from './conv.js';
export type { ModuleTarget } from './convert.js';
export { Dropout } from './dropout.js';
export type {
  BackwardHook,
  BackwardPreHook,
  ForwardHook,
  ForwardPreHook,
  Grads,
  HookOptions,
} from './hooks.js';
export * as init from './init.js';
export { InstanceNorm1d, InstanceNorm2d, type InstanceNormOptions } from './instance_norm.js';
export { GroupNorm, type GroupNormOptions, LayerNorm, type LayerNormOptions } from './layer_norm.js';
export { type FactoryOptions, Flatten, Identity, Linear, type LinearOptions } from './linear.js';
export { type AnyModule, Module } from './module.js';
export { BatchNorm, BatchNorm1d, BatchNorm2d, type BatchNormOptions, ChannelNorm } from './norm.js';
export { Parameter } from './parameter.js';
export {
  AdaptiveAvgPool2d,
  AdaptiveMaxPool2d,
  AvgPool2d,
  type AvgPool2dOptions,
  MaxPool2d,
  type MaxPool2dOptions,
  type OutputSize2,
} from './pooling.js';
export { REDUCTIONS, type Reduction, reduce } from './reduce.js';
export type { LoadOptions, LoadReport, ShapeMismatch } from './state.js';
export { type ModuleSummary, type Summary, summarize } from './summary.js';
