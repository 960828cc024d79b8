import { checkModel } from '../support/model_fidelity.js';

for (const name of ['r18_gn', 'r18_frozenbn']) checkModel(name);
