import * as torch from '../../torch/index.js';
import type { Log } from '../build.js';
import { guessGrid, resizePositions } from '../layers/position_embedding.js';
import type { VisionTransformer } from './vision_transformer.js';
import { timmNames } from './vit_names.js';

type Tensor = torch.Tensor;
type State = Map<string, Tensor>;

/** Parts of a published transformer that serve its pre-training alone. */
const PRETRAINING = /^(mask_token|dist_token|register_tokens|head_dist\..*|pre_logits\..*)$/;

/**
 * Brings a published vision transformer to `model`: names of OpenAI, Hugging Face and Meta to timm's, patch
 * embeddings published as linear layers to convolutions, the position embedding to the model's grid of patches. A
 * file of FastReID, timm or ours at the model's image size comes through unchanged.
 *
 * @param log gets a line when positions are resized
 */
export function convertVit(published: State, model: VisionTransformer, log: Log): State {
  const state = timmNames(published);
  const fitted: State = new Map();
  for (const [key, tensor] of state) if (!PRETRAINING.test(key)) fitted.set(key, tensor);
  if (model.head === undefined) for (const key of ['head.weight', 'head.bias']) fitted.delete(key);
  const registers = state.get('register_tokens');
  if (registers !== undefined) fitted.set('reg_token', registers);
  const patches = fitted.get('patch_embed.proj.weight');
  if (patches?.dim() === 2) {
    fitted.set('patch_embed.proj.weight', patches.reshape(model.patch_embed.proj.weight.shape));
  }
  fitPositions(fitted, model, prefixOf(state), log);
  return fitted;
}

/** How many tokens in front of the patches have a position in a file. */
function prefixOf(state: State): number {
  // timm folds the position of the class token into it where there are registers; Meta does not.
  if (state.has('reg_token')) return 0;
  return state.has('dist_token') ? 2 : 1;
}

function fitPositions(state: State, model: VisionTransformer, prefix: number, log: Log): void {
  const published = state.get('pos_embed');
  const token = state.get('cls_token');
  if (published === undefined || token === undefined) return;
  const count = published.shape[1] - prefix;
  const [rows, columns] = model.grid;
  // As many patches as wanted: the file is one of a model for this very image size.
  const from = count === rows * columns ? model.grid : guessGrid(count, model.grid);
  const patches = published.narrow(1, prefix, count).float();
  const resized = resizePositions(patches, { prefix: 0, from, to: model.grid, resize: model.resize });
  if (resized !== patches) {
    log(`Position embedding resized from ${from[0]} × ${from[1]} patches to ${rows} × ${columns}`);
  }
  const first = prefix === 0 ? torch.zeros_like(token) : published.narrow(1, 0, 1);
  if (model.positionPrefix === 1) {
    state.set('pos_embed', torch.cat([first.float(), resized], 1));
  } else {
    state.set('cls_token', token.add(first));
    state.set('pos_embed', resized);
  }
}
