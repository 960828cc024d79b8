import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;

/** x · σ(1.702 x), the approximation of GELU that OpenAI's CLIP was trained with. */
export class QuickGELU extends torch.nn.Module {
  protected override forward(x: Tensor): Tensor {
    return x.mul(x.mul(1.702).sigmoid_());
  }
}

const ACTIVATIONS = { gelu: torch.nn.GELU, quick_gelu: QuickGELU } as const;

export interface MlpOptions {
  dim: number;
  hiddenDim: number;
  activation?: keyof typeof ACTIVATIONS;
  /** Probability of dropout after either layer. */
  drop?: number;
}

/** Two linear layers with an activation in between: `[…, dim]` to `[…, dim]`. */
export class Mlp extends torch.nn.Module {
  // Field names are those of the state dict.
  readonly fc1: torch.nn.Linear;
  readonly act: torch.nn.TensorModule;
  readonly fc2: torch.nn.Linear;
  readonly drop: torch.nn.Dropout;

  constructor({ dim, hiddenDim, activation = 'gelu', drop = 0 }: MlpOptions) {
    super();
    this.fc1 = new torch.nn.Linear(dim, hiddenDim);
    this.act = new ACTIVATIONS[activation]();
    this.fc2 = new torch.nn.Linear(hiddenDim, dim);
    this.drop = new torch.nn.Dropout(drop);
  }

  protected override forward(x: Tensor): Tensor {
    // The hidden layer is the largest tensor of a transformer: it must not outlive the activation.
    const hidden = torch.scope(() => this.drop.call(this.act.call(this.fc1.call(x))));
    return this.drop.call(this.fc2.call(hidden));
  }
}
