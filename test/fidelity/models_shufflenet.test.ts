import { checkModel } from '../support/model_fidelity.js';

checkModel('shufflenetv2_1_0');
checkModel('shufflenetv2_0_5', { gradients: 1.2e-4 });
