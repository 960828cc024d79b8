import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import sharp from 'sharp';
import { getCfg } from '../../src/config/index.js';
import { buildModel } from '../../src/modeling/index.js';
import * as torch from '../../src/torch/index.js';
import { repoRoot } from '../support/paths.js';
import { reidNative } from './support.js';

const demo = join(repoRoot, 'configs/demo/emoji_r18.yml');
const small = ['MODEL.HEADS.NUM_CLASSES', '4', 'INPUT.SIZE_TEST', '[64, 32]', 'MODEL.DEVICE', 'cpu'];

test('reid-native explain: the best matches, as a picture', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'reid-explain-'));
  try {
    const gallery = join(folder, 'gallery');
    mkdirSync(gallery);
    const draw = (path: string, background: { r: number; g: number; b: number }) =>
      sharp({ create: { width: 32, height: 64, channels: 3, background } }).toFile(path);
    const query = join(gallery, 'query.png');
    await draw(query, { r: 200, g: 30, b: 30 });
    await draw(join(gallery, 'same.png'), { r: 200, g: 30, b: 30 });
    await draw(join(gallery, 'other.png'), { r: 0, g: 255, b: 40 });
    const weights = join(folder, 'model.safetensors');
    const cfg = getCfg();
    cfg.mergeFromFile(demo);
    cfg.mergeFromList([...small, 'MODEL.BACKBONE.PRETRAIN', 'False']);
    torch.saveSafetensors(buildModel(cfg, () => undefined).stateDict(), weights);
    const set = small.flatMap((word, i) => (i % 2 === 0 ? ['--set', `${word}=${small[i + 1]}`] : []));
    const always = ['explain', '--config-file', demo, '--weights', weights, '--query', query, ...set];
    const out = join(folder, 'out.png');
    const { code, stdout, stderr } = await reidNative([
      ...always,
      '--gallery',
      gallery,
      '--out',
      out,
      '--top',
      '2',
    ]);
    assert.equal(code, 0, stderr);
    const lines = stdout.split('\n').filter((line) => line.includes('similarity'));
    assert.match(lines[0]!, /same\.png {2}similarity 1\.0000$/);
    assert.match(lines[1]!, /other\.png {2}similarity -?0\.\d{4}$/);
    const { width, height } = await sharp(out).metadata();
    assert.ok(width > 800 && height > 800);

    const attempt = async (args: string[], exit: number, message: RegExp): Promise<void> => {
      const run = await reidNative([...always, ...args]);
      assert.match(run.stderr, message);
      assert.equal(run.code, exit);
    };
    const none = join(folder, 'none.png');
    await attempt(['--gallery', gallery, '--out', 'x.jpg'], 2, /must end in \.png or \.svg/);
    await attempt(['--gallery', query, '--out', none], 2, /no image besides the query/);
    await attempt(
      ['--gallery', gallery, '--out', none, '--layer', 'heads'],
      1,
      /'heads' gives \[2, 512\], not maps/,
    );
    assert.ok(!existsSync(none));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
