import { checkModel } from '../support/model_fidelity.js';

// The biases before a normalisation have no gradient but rounding: 9e-4 of what counts, in FastReID itself.
checkModel('resnest50', { gradients: 5e-3 });
