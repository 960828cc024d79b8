import { checkModel } from '../support/model_fidelity.js';

for (const name of ['resnext50', 'resnext50_ibn']) checkModel(name);
