import { checkModel } from '../support/model_fidelity.js';

// The hardest pair of a batch of four decides a triplet loss.
checkModel('mgn_r50', { losses: 1e-4, gradients: 8e-3, statistics: 3e-5 });
