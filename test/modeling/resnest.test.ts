import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { buildResNeSt } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { referenceCfg } from '../support/golden.js';

const folder = mkdtempSync(join(tmpdir(), 'reid-native-'));
after(() => rmSync(folder, { recursive: true }));

function make(options: Record<string, unknown> = {}) {
  const lines: string[] = [];
  const keys = Object.entries(options).map(([key, value]) => [`MODEL.BACKBONE.${key}`, value]);
  const cfg = referenceCfg({ 'MODEL.BACKBONE.DEPTH': '50x', ...Object.fromEntries(keys) });
  const model = buildResNeSt(cfg, (line) => lines.push(line));
  return { model, log: lines.join('\n') };
}

test('the last stride halves the map; without it the last blocks are dilated', () => {
  const images = torch.zeros([1, 3, 70, 38]);
  const at = (stride: number) => {
    const { model } = make({ LAST_STRIDE: stride });
    const dilations = ['layer3.1', 'layer4.0', 'layer4.1'].map(
      (path) => (model.getModule(`${path}.conv2.conv`) as torch.nn.Conv2d).dilation[0],
    );
    return [torch.noGrad(() => model.eval().call(images)).shape, dilations];
  };
  assert.deepEqual(at(1), [
    [1, 2048, 5, 3],
    [1, 1, 2],
  ]);
  assert.deepEqual(at(2), [
    [1, 2048, 3, 2],
    [1, 1, 1],
  ]);
});

test('101x has a wider stem', () => {
  const { model } = make({ DEPTH: '101x' });
  assert.deepEqual(model.stateDict().get('conv1.6.weight')?.shape, [128, 64, 3, 3]);
  assert.equal(model.layer3.length, 23);
});

test('an unknown depth is refused by key; options without effect are named', () => {
  assert.throws(() => make({ DEPTH: '18x' }), /MODEL.BACKBONE.DEPTH is '18x'.*50x, 101x, 200x, 269x/);
  const { log } = make({ WITH_IBN: true, WITH_NL: true });
  assert.match(log, /^MODEL.BACKBONE.WITH_IBN has no effect.*\nMODEL.BACKBONE.WITH_NL has no effect.*$/);
});

test('published weights load by their names', () => {
  const state = make().model.stateDict();
  state.set('fc.weight', torch.zeros([1000, 2048]));
  const path = join(folder, 'resnest50.pth');
  torch.saveSync(state, path);
  const { log } = make({ PRETRAIN: true, PRETRAIN_PATH: path });
  assert.match(log, /^Loaded \d+ tensors of pre-trained weights from \S+\n.*ignored: fc.weight$/);
  assert.throws(
    () => make({ DEPTH: '269x', PRETRAIN: true, PRETRAIN_PATH: join(folder, 'none.pth') }),
    /published at \S*resnest269-0cc87c48.pth/,
  );
});
