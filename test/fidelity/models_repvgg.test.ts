import { checkModel } from '../support/model_fidelity.js';

checkModel('repvgg_a0');
