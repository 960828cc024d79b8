import { checkModel } from '../support/model_fidelity.js';

checkModel('mobilenetv2_1_0', { losses: 1e-4, gradients: 1.5e-4, statistics: 3e-5 });
checkModel('mobilenetv2_0_25');
// The filled weights let little of the image through, and the neck's normalisation brings rounding up with it.
checkModel('mobilenetv3_large', { features: 1e-3 });
checkModel('mobilenetv3_small');
