import * as torch from '../../torch/index.js';

type Tensor = torch.Tensor;
type State = Map<string, Tensor>;

/** How a publisher names the parts of a vision transformer, as replacements that lead to timm's names. */
interface Scheme {
  /** A name that shows it; what comes before it, in a file, comes before every name of the transformer. */
  marker: string;
  rules: readonly (readonly [RegExp, string])[];
}

/** OpenAI's CLIP and OpenCLIP. */
const OPENAI: Scheme = {
  marker: 'class_embedding',
  rules: [
    [/^class_embedding$/, 'cls_token'],
    [/^positional_embedding$/, 'pos_embed'],
    [/^conv1\./, 'patch_embed.proj.'],
    [/^ln_pre\./, 'norm_pre.'],
    [/^ln_post\./, 'norm.'],
    [/^transformer\.resblocks\./, 'blocks.'],
    [/\.ln_(\d)\./, '.norm$1.'],
    [/\.in_proj_/, '.qkv.'],
    [/\.out_proj\./, '.proj.'],
    [/\.c_fc\./, '.fc1.'],
    [/\.c_proj\./, '.fc2.'],
  ],
};

/** CLIP as Hugging Face's transformers name it. */
const HF_CLIP: Scheme = {
  marker: 'embeddings.class_embedding',
  rules: [
    [/^embeddings\.class_embedding$/, 'cls_token'],
    [/^embeddings\.position_embedding\.weight$/, 'pos_embed'],
    [/^embeddings\.patch_embedding\./, 'patch_embed.proj.'],
    [/^pre_layrnorm\./, 'norm_pre.'],
    [/^post_layernorm\./, 'norm.'],
    [/^encoder\.layers\./, 'blocks.'],
    [/\.layer_norm(\d)\./, '.norm$1.'],
    [/\.self_attn\.([qkv])_proj\./, '.attn.$1.'],
    [/\.self_attn\.out_proj\./, '.attn.proj.'],
  ],
};

/** ViT, DINO and DINOv2 as Hugging Face's transformers name them. */
const HF_VIT: Scheme = {
  marker: 'embeddings.cls_token',
  rules: [
    [/^embeddings\.(cls_token|mask_token|register_tokens)$/, '$1'],
    [/^embeddings\.position_embeddings$/, 'pos_embed'],
    [/^embeddings\.patch_embeddings\.projection\./, 'patch_embed.proj.'],
    [/^layernorm\./, 'norm.'],
    [/^encoder\.layer\./, 'blocks.'],
    [/\.layernorm_before\./, '.norm1.'],
    [/\.layernorm_after\./, '.norm2.'],
    [/\.attention\.attention\.([qkv])(?:uery|ey|alue)\./, '.attn.$1.'],
    [/\.attention\.output\.dense\./, '.attn.proj.'],
    [/\.intermediate\.dense\./, '.mlp.fc1.'],
    [/\.output\.dense\./, '.mlp.fc2.'],
    [/\.layer_scale(\d)\.lambda1$/, '.ls$1.gamma'],
  ],
};

/** timm, Meta's DINO and DINOv2, FastReID; also where such a transformer is part of a larger model. */
const TIMM: Scheme = { marker: 'pos_embed', rules: [] };

const SCHEMES = [TIMM, HF_VIT, HF_CLIP, OPENAI];

/** Projections of CLIP's image features onto those of its texts, by where they are found. */
const HF_PROJECTION = 'visual_projection.weight';
const OPENAI_PROJECTION = 'proj';

/**
 * The entries of a published vision transformer under timm's names; entries of other parts of the model in the file,
 * such as a text encoder, are left out. A file of none of the known kinds comes through unchanged.
 */
export function timmNames(state: State): State {
  for (const { marker, rules } of SCHEMES) {
    const found = [...state.keys()].find((key) => key === marker || key.endsWith(`.${marker}`));
    if (found === undefined) continue;
    const prefix = found.slice(0, -marker.length);
    const renamed: State = new Map();
    for (const [key, tensor] of state) {
      if (!key.startsWith(prefix)) continue;
      const name = rules.reduce((n, [from, to]) => n.replace(from, to), key.slice(prefix.length));
      renamed.set(name, tensor);
    }
    takeProjection(renamed, state.get(HF_PROJECTION));
    return joinQueriesKeysValues(shaped(renamed));
  }
  return state;
}

/** timm's names for CLIP's projection, a linear layer whose bias is zero. */
function takeProjection(renamed: State, hf: Tensor | undefined): void {
  const weight = hf ?? renamed.get(OPENAI_PROJECTION)?.t();
  renamed.delete(OPENAI_PROJECTION);
  if (weight === undefined) return;
  renamed.set('head.weight', weight);
  renamed.set('head.bias', torch.zeros([weight.shape[0]], { dtype: torch.float32 }));
}

/** Class token and positions with the dimension of the batch, which CLIP leaves out. */
function shaped(state: State): State {
  const token = state.get('cls_token');
  if (token !== undefined) state.set('cls_token', token.reshape([1, 1, -1]));
  const positions = state.get('pos_embed');
  if (positions?.dim() === 2) state.set('pos_embed', positions.unsqueeze(0));
  return state;
}

/** One layer for queries, keys and values in place of three. */
function joinQueriesKeysValues(state: State): State {
  for (const key of [...state.keys()]) {
    const match = /^(.*\.attn\.)q\.(weight|bias)$/.exec(key);
    if (match === null) continue;
    const names = ['q', 'k', 'v'].map((part) => `${match[1]}${part}.${match[2]}`);
    const parts = names.map((name) => state.get(name)).filter((part) => part !== undefined);
    if (parts.length !== 3) continue;
    for (const name of names) state.delete(name);
    state.set(`${match[1]}qkv.${match[2]}`, torch.cat(parts, 0));
  }
  return state;
}
