import * as torch from '../../torch/index.js';

/**
 * Initialises one layer of a head: convolutions from a normal distribution scaled by their fan-out (He et al.),
 * linear layers from N(0, 0.01), batch normalisation to the identity, biases to 0. Use with `Module.apply`.
 */
export function initKaiming(module: torch.nn.AnyModule): void {
  if (module instanceof torch.nn.Linear) {
    torch.nn.init.normal_(module.weight, 0, 0.01);
    if (module.bias) torch.nn.init.zeros_(module.bias);
  } else if (module instanceof torch.nn.Conv2d) {
    torch.nn.init.kaimingNormal_(module.weight, { mode: 'fan_out' });
    if (module.bias) torch.nn.init.zeros_(module.bias);
  } else if (module instanceof torch.nn.BatchNorm) {
    if (module.weight) torch.nn.init.ones_(module.weight);
    if (module.bias) torch.nn.init.zeros_(module.bias);
  }
}

/** What `body` returns; the default generator is left as it was, whatever `body` draws from it. */
export function withoutDrawing<T>(body: () => T): T {
  using state = torch.getRngState();
  try {
    return body();
  } finally {
    torch.setRngState(state);
  }
}
