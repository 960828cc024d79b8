import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest } from '../../src/nearest.js';
import { Registry } from '../../src/registry.js';

test('a registry gives what was registered, and says what there is when asked for something else', () => {
  const registry = new Registry<number>('dataset');
  assert.equal(registry.register('Market1501', 1), 1);
  registry.register('EmojiReID', 2);
  assert.equal(registry.get('EmojiReID'), 2);
  assert.deepEqual(registry.names(), ['Market1501', 'EmojiReID']);
  assert.equal(registry.has('DukeMTMC'), false);
  assert.throws(() => registry.get('market1051'), {
    message: "unknown dataset 'market1051'. Did you mean 'Market1501'? Registered: Market1501, EmojiReID",
  });
  assert.throws(() => registry.get('DukeMTMC'), {
    message: "unknown dataset 'DukeMTMC'. Registered: Market1501, EmojiReID",
  });
});

test('a name is registered once', () => {
  const registry = new Registry<number>('loss');
  registry.register('A', 1);
  assert.throws(() => registry.register('A', 2), /a loss named 'A' is already registered/);
});

test('the nearest name tolerates slips, not other words', () => {
  assert.equal(editDistance('kitten', 'sitting'), 3);
  assert.equal(editDistance('ab', 'ba'), 1);
  assert.equal(nearest('WITH_BNECK', ['WITH_BNNECK', 'WITH_SE']), 'WITH_BNNECK');
  assert.equal(nearest('norm', ['NORM']), 'NORM');
  assert.equal(nearest('Apples', ['Market1501']), undefined);
});
