import { nn } from '../../src/torch/index.js';
import { checkLayer } from '../support/layer_fidelity.js';

// FastReID's own classes of these names are PyTorch's layers under other names.
checkLayer('act_Mish', () => new nn.Mish());
checkLayer('act_Swish', () => new nn.SiLU());
checkLayer('act_MemoryEfficientSwish', () => new nn.SiLU());
checkLayer('act_GELU', () => new nn.GELU({ approximate: 'tanh' }));
