import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { convertVit } from '../../src/modeling/backbones/vit_weights.js';
import { buildBackbone, VisionTransformer, type VisionTransformerOptions } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { backboneCfg } from '../support/backbone_cfg.js';
import { assertWithin, deviation } from '../support/closeness.js';
import { fill, fillModel } from '../support/fill.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

type Tensor = torch.Tensor;
type State = Map<string, Tensor>;

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'vit-weights-'));
after(() => rmSync(folder, { recursive: true }));

const PLAIN: VisionTransformerOptions = {
  imageSize: [16, 16],
  patchSize: 8,
  stride: [8, 8],
  dim: 12,
  depth: 2,
  heads: 3,
  mlpRatio: 4,
  resize: 'bicubic',
};
const DINOV2: VisionTransformerOptions = { ...PLAIN, layerScale: 1e-5 };
const REGISTERS: VisionTransformerOptions = { ...DINOV2, registerTokens: 4 };
const CLIP: VisionTransformerOptions = { ...PLAIN, preNorm: true, projection: 5 };

const silent = (): void => {};

/** A transformer's tensors, filled, by our names. */
function filled(options: VisionTransformerOptions): State {
  const model = new VisionTransformer(options);
  fillModel(model, 1);
  // CLIP's projection has no bias.
  model.head?.bias?.detach().zero_();
  return new Map([...model.stateDict()].map(([key, tensor]) => [key, tensor.detach().clone()]));
}

/** Takes an entry out. */
function take(state: State, key: string): Tensor {
  const tensor = state.get(key);
  assert.ok(tensor, key);
  state.delete(key);
  return tensor;
}

/** Weight and bias of a layer, from one name to another. */
function move(from: State, to: State, layers: Record<string, string>): void {
  for (const [name, published] of Object.entries(layers)) {
    for (const part of ['weight', 'bias']) {
      if (from.has(`${name}.${part}`)) to.set(`${published}.${part}`, take(from, `${name}.${part}`));
    }
  }
}

/** Queries, keys and values of a block as three layers. */
function split(from: State, to: State, block: string, names: readonly [string, string, string]): void {
  for (const part of ['weight', 'bias']) {
    for (const [i, third] of take(from, `${block}.attn.qkv.${part}`).chunk(3, 0).entries()) {
      to.set(`${names[i]}.${part}`, third);
    }
  }
}

/** What one publisher makes of our tensors. */
const PUBLISHED: Record<string, { options: VisionTransformerOptions; publish(own: State): State }> = {
  'timm with its classifier': {
    options: PLAIN,
    publish: (own) =>
      new Map([
        ...own,
        ['head.weight', torch.zeros([7, 12])],
        ['head.bias', torch.zeros([7])],
        ['pre_logits.fc.weight', torch.zeros([12, 12])],
      ]),
  },
  'distilled DeiT': {
    options: PLAIN,
    publish: (own) => {
      const [first, patches] = own.get('pos_embed')!.split_with_sizes([1, 4], 1);
      return new Map([
        ...own,
        ['pos_embed', torch.cat([first, torch.ones([1, 1, 12]), patches], 1)],
        ['dist_token', torch.ones([1, 1, 12])],
        ['head_dist.weight', torch.zeros([7, 12])],
      ]);
    },
  },
  "Meta's DINOv2": {
    options: DINOV2,
    publish: (own) => new Map([...own, ['mask_token', torch.zeros([1, 12])]]),
  },
  "Meta's DINOv2 with registers": {
    options: REGISTERS,
    publish: (own) => {
      // The class token has a position of its own, and what ours is lies in both.
      const published = new Map(own);
      const position = fill('position', [1, 1, 12]);
      published.set('register_tokens', take(published, 'reg_token'));
      published.set('pos_embed', torch.cat([position, own.get('pos_embed')!], 1));
      published.set('cls_token', own.get('cls_token')!.sub(position));
      return published;
    },
  },
  "timm's DINOv2 with registers": { options: REGISTERS, publish: (own) => own },
  'Hugging Face, ViT': {
    options: PLAIN,
    publish: (own) => {
      const to: State = new Map([['classifier.weight', torch.zeros([7, 12])]]);
      to.set('vit.embeddings.cls_token', take(own, 'cls_token'));
      to.set('vit.embeddings.position_embeddings', take(own, 'pos_embed'));
      move(own, to, {
        'patch_embed.proj': 'vit.embeddings.patch_embeddings.projection',
        norm: 'vit.layernorm',
      });
      for (const i of [0, 1]) {
        const [from, layer] = [`blocks.${i}`, `vit.encoder.layer.${i}`];
        const attention = `${layer}.attention.attention`;
        split(own, to, from, [`${attention}.query`, `${attention}.key`, `${attention}.value`]);
        move(own, to, {
          [`${from}.norm1`]: `${layer}.layernorm_before`,
          [`${from}.norm2`]: `${layer}.layernorm_after`,
          [`${from}.attn.proj`]: `${layer}.attention.output.dense`,
          [`${from}.mlp.fc1`]: `${layer}.intermediate.dense`,
          [`${from}.mlp.fc2`]: `${layer}.output.dense`,
        });
      }
      return to;
    },
  },
  'Hugging Face, DINOv2': {
    options: DINOV2,
    publish: (own) => {
      const to: State = new Map([['embeddings.mask_token', torch.zeros([1, 12])]]);
      to.set('embeddings.cls_token', take(own, 'cls_token'));
      to.set('embeddings.position_embeddings', take(own, 'pos_embed'));
      move(own, to, { 'patch_embed.proj': 'embeddings.patch_embeddings.projection', norm: 'layernorm' });
      for (const i of [0, 1]) {
        const [from, layer] = [`blocks.${i}`, `encoder.layer.${i}`];
        const attention = `${layer}.attention.attention`;
        split(own, to, from, [`${attention}.query`, `${attention}.key`, `${attention}.value`]);
        for (const n of [1, 2]) to.set(`${layer}.layer_scale${n}.lambda1`, take(own, `${from}.ls${n}.gamma`));
        move(own, to, {
          [`${from}.norm1`]: `${layer}.norm1`,
          [`${from}.norm2`]: `${layer}.norm2`,
          [`${from}.attn.proj`]: `${layer}.attention.output.dense`,
          [`${from}.mlp.fc1`]: `${layer}.mlp.fc1`,
          [`${from}.mlp.fc2`]: `${layer}.mlp.fc2`,
        });
      }
      return to;
    },
  },
  'Hugging Face, CLIP': {
    options: CLIP,
    publish: (own) => {
      const to: State = new Map([
        ['logit_scale', torch.zeros([])],
        ['text_model.embeddings.position_embedding.weight', torch.zeros([9, 12])],
        ['text_model.encoder.layers.0.mlp.fc1.weight', torch.zeros([48, 12])],
        ['text_projection.weight', torch.zeros([5, 12])],
      ]);
      const vision = 'vision_model';
      to.set(`${vision}.embeddings.class_embedding`, take(own, 'cls_token').reshape([12]));
      to.set(`${vision}.embeddings.position_embedding.weight`, take(own, 'pos_embed').squeeze(0));
      to.set('visual_projection.weight', take(own, 'head.weight'));
      own.delete('head.bias');
      move(own, to, {
        'patch_embed.proj': `${vision}.embeddings.patch_embedding`,
        norm_pre: `${vision}.pre_layrnorm`,
        norm: `${vision}.post_layernorm`,
      });
      for (const i of [0, 1]) {
        const [from, layer] = [`blocks.${i}`, `${vision}.encoder.layers.${i}`];
        const attention = `${layer}.self_attn`;
        split(own, to, from, [`${attention}.q_proj`, `${attention}.k_proj`, `${attention}.v_proj`]);
        move(own, to, {
          [`${from}.norm1`]: `${layer}.layer_norm1`,
          [`${from}.norm2`]: `${layer}.layer_norm2`,
          [`${from}.attn.proj`]: `${layer}.self_attn.out_proj`,
          [`${from}.mlp.fc1`]: `${layer}.mlp.fc1`,
          [`${from}.mlp.fc2`]: `${layer}.mlp.fc2`,
        });
      }
      return to;
    },
  },
  "OpenAI's CLIP": {
    options: CLIP,
    publish: (own) => {
      const to: State = new Map([
        ['positional_embedding', torch.zeros([9, 12])],
        ['text_projection', torch.zeros([12, 5])],
        ['transformer.resblocks.0.mlp.c_fc.weight', torch.zeros([48, 12])],
      ]);
      to.set('visual.class_embedding', take(own, 'cls_token').reshape([12]));
      to.set('visual.positional_embedding', take(own, 'pos_embed').squeeze(0));
      to.set('visual.proj', take(own, 'head.weight').t());
      own.delete('head.bias');
      move(own, to, {
        'patch_embed.proj': 'visual.conv1',
        norm_pre: 'visual.ln_pre',
        norm: 'visual.ln_post',
      });
      for (const i of [0, 1]) {
        const [from, layer] = [`blocks.${i}`, `visual.transformer.resblocks.${i}`];
        for (const part of ['weight', 'bias']) {
          to.set(`${layer}.attn.in_proj_${part}`, take(own, `${from}.attn.qkv.${part}`));
        }
        move(own, to, {
          [`${from}.norm1`]: `${layer}.ln_1`,
          [`${from}.norm2`]: `${layer}.ln_2`,
          [`${from}.attn.proj`]: `${layer}.attn.out_proj`,
          [`${from}.mlp.fc1`]: `${layer}.mlp.c_fc`,
          [`${from}.mlp.fc2`]: `${layer}.mlp.c_proj`,
        });
      }
      return to;
    },
  },
};

for (const [name, { options, publish }] of Object.entries(PUBLISHED)) {
  test(`${name}: each tensor of a published file lands, and nothing else is left`, () => {
    const expected = filled(options);
    const published = publish(new Map(expected));
    const model = new VisionTransformer(options);
    const report = model.loadStateDict(convertVit(published, model, silent), { strict: true });
    assert.deepEqual([report.missing, report.unexpected], [[], []]);
    for (const [key, tensor] of model.stateDict()) {
      assertWithin(deviation(tensor, expected.get(key)!), key === 'cls_token' ? 1e-6 : 0, key);
    }
  });
}

test('CLIP without projection leaves that of the file aside', () => {
  const model = new VisionTransformer({ ...CLIP, projection: 0 });
  model.loadStateDict(convertVit(filled(CLIP), model, silent), { strict: true });
});

const RESIZE = `
import json, sys, torch
from torch.nn import functional as F
x, mode, old, new = json.load(sys.stdin)
x = torch.tensor(x)
grid = x[:, 1:].reshape(1, *old, -1).permute(0, 3, 1, 2)
grid = F.interpolate(grid, size=new, mode=mode, align_corners=False, antialias=mode == 'bicubic')
print(json.dumps(torch.cat((x[:, :1], grid.flatten(2).transpose(1, 2)), 1).tolist()))
`;

for (const resize of ['bilinear', 'bicubic'] as const) {
  test(`positions of a file come to the model's grid as F.interpolate does it, ${resize}`, {
    skip: pythonTorch() === undefined && pythonTorchMissing,
  }, () => {
    const published = filled({ ...PLAIN, imageSize: [40, 40] });
    const model = new VisionTransformer({ ...PLAIN, imageSize: [56, 24], resize });
    const lines: string[] = [];
    const found = convertVit(published, model, (line) => lines.push(line)).get('pos_embed')!;
    assert.deepEqual(lines, ['Position embedding resized from 5 × 5 patches to 7 × 3']);
    const request = [published.get('pos_embed')!.tolist(), resize, [5, 5], [7, 3]];
    assertWithin(deviation(found, torch.tensor(runPython<number[][][]>(RESIZE, request))), 1e-6, resize);
  });
}

const SIZE = { 'INPUT.SIZE_TRAIN': [64, 32] };
const TINY = { NAME: 'build_timm_vit_backbone', DEPTH: 'tiny' };

test('a file of a whole model: what came, what is missing and what is left aside is said', () => {
  const source = buildBackbone(backboneCfg(TINY, { 'INPUT.SIZE_TRAIN': [64, 64] }), silent);
  const state = new Map([...source.stateDict()].map(([key, t]) => [`backbone.${key}`, t.detach()]));
  state.delete('backbone.norm.bias');
  state.set('backbone.blocks.0.mlp.fc1.bias', torch.zeros([3]));
  state.set('heads.weight', torch.zeros([3, 192]));
  const path = join(folder, 'tiny.pth');
  torch.saveSync(state, path);
  const lines: string[] = [];
  const cfg = backboneCfg({ ...TINY, SIE_CAMERAS: 2, PRETRAIN: true, PRETRAIN_PATH: path }, SIZE);
  const loaded = buildBackbone(cfg, (line) => lines.push(line));
  assert.deepEqual(lines, [
    'Side information: 2 cameras, each with an embedding, times 3',
    'Position embedding resized from 4 × 4 patches to 4 × 2',
    `Loaded ${source.stateDict().size - 2} tensors of pre-trained weights from ${path}`,
    '  missing in the file, keeps its initial value: sie_embed',
    '  missing in the file, keeps its initial value: norm.bias',
    '  of another shape, keeps its initial value: blocks.0.mlp.fc1.bias is [768], in the file [3]',
    '  no part of the backbone, ignored: heads.weight',
  ]);
  const key = 'blocks.11.attn.qkv.weight';
  assert.ok(torch.equal(loaded.stateDict().get(key)!, source.stateDict().get(key)!));
});

test('weights that are not there: where they are published is said', () => {
  const { TORCH_HOME } = process.env;
  process.env.TORCH_HOME = folder;
  try {
    for (const [NAME, DEPTH, url] of [
      ['build_vit_backbone', 'base', 'jx_vit_base_p16_224-80ecf9dd.pth'],
      ['build_dinov2_backbone', 'base_reg4', 'dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth'],
      ['build_timm_vit_backbone', 'small', 'dino_deitsmall16_pretrain.pth'],
      ['build_clip_vit_backbone', 'base', 'openai/clip-vit-base-patch16/resolve/main/model.safetensors'],
      ['build_convnext_backbone', 'tiny', 'convnext/convnext_tiny_22k_224.pth'],
    ]) {
      const missing = backboneCfg({ NAME, DEPTH, PRETRAIN: true }, SIZE);
      assert.throws(() => buildBackbone(missing, silent), new RegExp(`Download https:.*${url} to one of`));
      const named = backboneCfg({ NAME, DEPTH, PRETRAIN: true, PRETRAIN_PATH: '/nowhere/a.pth' }, SIZE);
      assert.throws(
        () => buildBackbone(named, silent),
        new RegExp(`no file /nowhere/a.pth. The weights are published at https:.*${url}`),
      );
    }
  } finally {
    if (TORCH_HOME === undefined) delete process.env.TORCH_HOME;
    else process.env.TORCH_HOME = TORCH_HOME;
  }
});
