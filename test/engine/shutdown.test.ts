import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeTinySet } from './tiny.js';
import { type Ended, runTiny, type Watch } from './tiny-run.js';

// A training whose decoding threads always have work in hand: pictures take far longer to decode than steps do.
const SIDE = 1600;
const folder = mkdtempSync(join(tmpdir(), 'reid-shutdown-'));
const data = join(folder, 'data');

/** A training that hangs is killed after a minute, and no test expects SIGKILL. */
const train = (name: string, environment: NodeJS.ProcessEnv = {}, watch?: Watch): Promise<Ended> =>
  runTiny(
    [join(folder, name), 'DATALOADER.NUM_WORKERS', '2'],
    { FASTREID_DATASETS: data, ...environment },
    watch,
    60_000,
  );

before(() => writeTinySet(data, SIDE));
after(() => rmSync(folder, { recursive: true, force: true }));

test('an error in mid-epoch, with pictures being decoded, ends the process', async () => {
  const { code, signal, output } = await train('error', { FAIL_AT: '1' });
  assert.equal(signal, null, output);
  assert.equal(code, 1, output);
  assert.match(output, /a hook fails on purpose/);
  assert.doesNotMatch(output, /step 2\n/);
});

test('a picture that cannot be read ends the process and is named', async () => {
  const train1 = join(data, 'emoji-reid/bounding_box_train');
  const [picture] = readdirSync(train1);
  const whole = readFileSync(join(train1, picture));
  writeFileSync(join(train1, picture), whole.subarray(0, whole.length / 2));
  const { code, signal, output } = await train('cut');
  writeFileSync(join(train1, picture), whole);
  assert.equal(signal, null, output);
  assert.equal(code, 1, output);
  assert.match(output, new RegExp(`cannot load '.*${picture}'`));
});

test('Ctrl-C in mid-epoch, with pictures being decoded, saves and ends', async () => {
  let sent = false;
  const { code, signal, output } = await train('stopped', {}, (text, kill) => {
    if (sent || !text.includes('step 1\n')) return;
    sent = true;
    kill('SIGINT');
  });
  assert.deepEqual([code, signal], [130, null], output);
  assert.match(output, /To go on from here/);
});
