import { checkModel } from '../support/model_fidelity.js';

// In training the neck normalises four class tokens that hardly differ: what the reference holds there is its rounding,
// magnified by 10⁷. Training is compared bit for bit with PyTorch on the same machine, in the transformers' own tests.
for (const name of ['vit_small', 'vit_base', 'vit_small_stride12']) checkModel(name, { training: false });
