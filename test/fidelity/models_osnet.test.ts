import { checkModel } from '../support/model_fidelity.js';

for (const name of ['osnet_x1_0', 'osnet_x0_25', 'osnet_x1_0_ibn']) checkModel(name);
