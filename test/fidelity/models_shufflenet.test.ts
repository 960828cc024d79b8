import { checkModel } from '../support/model_fidelity.js';

for (const name of ['shufflenetv2_1_0', 'shufflenetv2_0_5']) checkModel(name);
