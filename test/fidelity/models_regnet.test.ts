import { checkModel } from '../support/model_fidelity.js';

for (const name of ['regnet_200x', 'regnet_200y', 'effnet_b0']) checkModel(name);
