import { checkModel } from '../support/model_fidelity.js';

for (const name of ['mobilenetv2_1_0', 'mobilenetv2_0_25', 'mobilenetv3_large', 'mobilenetv3_small'])
  checkModel(name);
