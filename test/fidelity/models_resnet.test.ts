import { checkModel } from '../support/model_fidelity.js';

for (const name of [
  'r18',
  'r18_ibn',
  'r18_se',
  'r34',
  'r34_ibn_se',
  'r50_laststride2',
  'r50_ibn_nl_gem_circle_emb256',
]) {
  checkModel(name);
}

checkModel('r50', { gradients: 6e-3 });
checkModel('r50_ibn', { gradients: 1e-2 });
checkModel('r50_se', { gradients: 3e-3 });
checkModel('r50_nl', { losses: 2e-4, gradients: 1e-2, statistics: 1.5e-3 });
checkModel('r101', { losses: 3e-4, gradients: 2e-2, statistics: 8e-5 });
