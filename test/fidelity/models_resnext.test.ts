import { checkModel } from '../support/model_fidelity.js';

checkModel('resnext50', { gradients: 6e-3 });
checkModel('resnext50_ibn');
