import { checkModel } from '../support/model_fidelity.js';

for (const name of ['r18', 'r34', 'r50', 'r50_laststride2', 'r101']) checkModel(name);
