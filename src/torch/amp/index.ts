export {
  type AutocastOptions,
  autocast,
  getAutocastDtype,
  isAutocastEnabled,
  type LowPrecision,
  withoutAutocast,
} from './autocast.js';
export { GradScaler, type GradScalerOptions, type GradScalerState } from './grad_scaler.js';
