import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { makeTest, rankLists, sortLists, type TestData, writeFindings } from '../../src/retrieval/index.js';
import * as torch from '../../src/torch/index.js';

torch.setNumThreads(1);
const folder = mkdtempSync(join(tmpdir(), 'reid-report-'));
const out = join(folder, 'seen');
after(() => rmSync(folder, { recursive: true, force: true }));

/** A browser without windows, if one is installed. */
const browser = ['chromium', 'chromium-browser', 'google-chrome', 'chrome']
  .flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((path) => join(path, name)))
  .find((path) => existsSync(path));
const skip = browser === undefined && 'no chromium or chrome on the PATH';

const data: TestData = makeTest({
  // Query 0 finds 1 (right), then 2; query 3 finds 2 (wrong) before 4.
  features: torch.tensor([
    [1, 0],
    [1, 0.1],
    [0.2, 1],
    [0, 1],
    [-1, 1],
  ]),
  paths: ['<one> & "two".png', 'right.png', 'wrong.png', 'three.png', 'gone.png'].map((name) =>
    join(folder, name),
  ),
  identities: [1, 1, 2, 3, 3],
  cameras: ['left', 'right', 'right', 'left', 'right'],
  protocol: { trials: [{ query: [0, 3], gallery: [1, 2, 4] }], cameras: true },
});
const draw = async (top: number): Promise<string> => {
  const findings = rankLists(data, { top });
  return writeFindings(out, data, findings, sortLists(findings.lists, 'worst'), {
    title: 'Findings </title><script>alert(1)</script>',
    mode: 'cosine distance, COMPAT: none',
  });
};

before(async () => {
  mkdirSync(out);
  for (const path of data.paths.slice(0, 4)) {
    await sharp({ create: { width: 50, height: 100, channels: 3, background: '#ff00ff' } }).toFile(path);
  }
  await draw(3);
});

test('a report, charts and a picture a rank list, the worst first', () => {
  assert.deepEqual(readdirSync(out).sort(), ['cmc.png', 'distances.png', 'lists', 'report.html', 'roc.png']);
  assert.deepEqual(readdirSync(join(out, 'lists')), ['1-three.png', '2-_one_two_.png']);
});

test('drawing again leaves no lists of the time before, and nothing else is removed', async () => {
  writeFileSync(join(out, 'lists/3-stale.png'), '');
  writeFileSync(join(out, 'lists/mine.png'), '');
  await draw(3);
  assert.deepEqual(readdirSync(join(out, 'lists')).sort(), ['1-three.png', '2-_one_two_.png', 'mine.png']);
});

test('the report needs nothing but itself', () => {
  const html = readFileSync(join(out, 'report.html'), 'utf8');
  assert.match(html, /Content-Security-Policy" content="default-src 'none'; img-src data:/);
  assert.doesNotMatch(html, /<script|<link|url\(|src="(?!data:)|href=/);
  // Rank-1 of one query in two; of APs 1 and 1/2.
  assert.match(html, /<td>50\.00<\/td>/);
  assert.match(html, /<td>75\.00<\/td>/);
  assert.equal(html.match(/<img /g)?.length, 6);
  assert.equal(html.match(/class="lost"/g)?.length, 2);
  assert.ok(
    html.indexOf('three.png · AP 50.0 %') <
      html.indexOf('&lt;one&gt; &amp; &quot;two&quot;.png · AP 100.0 %'),
  );
});

test('a browser shows it: images in frames, charts, no errors', { skip }, async () => {
  const shot = join(folder, 'shot.png');
  const { status, stderr } = spawnSync(
    browser as string,
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--enable-logging=stderr'],
      ...[`--user-data-dir=${join(folder, 'profile')}`, '--window-size=1300,1500', `--screenshot=${shot}`],
      pathToFileURL(join(out, 'report.html')).href,
    ],
    { encoding: 'utf8', timeout: 120_000 },
  );
  assert.equal(status, 0, stderr);
  assert.doesNotMatch(stderr, /CONSOLE/);
  const { data: bytes, info } = await sharp(shot).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const count = (rgb: number[], tolerance = 2): number => {
    let pixels = 0;
    for (let i = 0; i < info.width * info.height; i++) {
      if (rgb.every((value, c) => Math.abs(bytes[3 * i + c] - value) <= tolerance)) pixels++;
    }
    return pixels;
  };
  // Six images of 80 × 160, and the lost file's place in each list; frames of four pixels around all of them.
  assert.ok(count([255, 0, 255], 8) > 5 * 80 * 160, 'images');
  const frame = 2 * 4 * (80 + 168);
  for (const [name, colour, frames] of [
    ['query', [0x00, 0x72, 0xb2], 2],
    ['right', [0x1a, 0x96, 0x41], 2],
    ['wrong', [0xd7, 0x19, 0x1c], 4],
  ] as const) {
    assert.ok(count([...colour]) >= 0.95 * frame * frames, name);
  }
});
