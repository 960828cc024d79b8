import { checkModel } from '../support/model_fidelity.js';

checkModel('regnet_200x', { gradients: 8e-3 });
checkModel('regnet_200y');
// As in MobileNetV3, little of the image is left where the features are normalised.
checkModel('effnet_b0', { features: 2e-4 });
