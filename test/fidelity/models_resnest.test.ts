import { checkModel } from '../support/model_fidelity.js';

checkModel('resnest50', { losses: 7e-5, gradients: 2e-2, statistics: 7e-5 });
