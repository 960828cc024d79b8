import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getCfg } from '../../src/config/index.js';
import { resolveDevice } from '../../src/engine/default-setup.js';
import { ownDevice } from '../../src/engine/own-device.js';
import { placementOf } from '../../src/torch/distributed/environment.js';
import * as torch from '../../src/torch/index.js';
import { skipWithout } from '../support/devices.js';

const placed = (worldSize: number, localRank: number, localWorldSize = worldSize) => ({
  rank: localRank,
  worldSize,
  localRank,
  localWorldSize,
});

test('each process of a machine has a device of its own', () => {
  for (const launched of [true, false]) {
    const facts = { devices: 4, launched };
    assert.equal(ownDevice('cuda', { ...facts, placement: placed(4, 3) }), 'cuda:3');
    assert.equal(ownDevice('cuda', { ...facts, placement: placed(8, 2, 4) }), 'cuda:2');
    assert.equal(ownDevice('cuda', { ...facts, placement: undefined }), 'cuda:0');
  }
});

test('a device named by its index is taken where one process of the machine trains', () => {
  const facts = { devices: 2, launched: true };
  assert.equal(ownDevice('cuda:1', { ...facts, placement: placed(1, 0) }), 'cuda:1');
  assert.equal(ownDevice('cuda:1', { ...facts, placement: placed(2, 0, 1) }), 'cuda:1');
  assert.throws(
    () => ownDevice('cuda:1', { ...facts, placement: placed(2, 0) }),
    /'cuda:1', but 2 processes of this machine need a GPU each: write MODEL.DEVICE cuda,/,
  );
  assert.throws(
    () => ownDevice('cuda:2', { ...facts, placement: placed(1, 0) }),
    /'cuda:2', but of CUDA devices there are 2, from 0/,
  );
});

test('a SLURM task that sees its own device alone takes it', () => {
  const placement = placementOf({
    SLURM_PROCID: '3',
    SLURM_NTASKS: '8',
    SLURM_LOCALID: '3',
    SLURM_STEP_ID: '0',
    SLURM_TASKS_PER_NODE: '4(x2)',
  });
  assert.deepEqual(placement, { ...placed(8, 3, 4), rank: 3 });
  assert.equal(ownDevice('cuda', { placement, devices: 1, launched: false }), 'cuda:0');
});

test('more processes than devices are refused', () => {
  const placement = placed(4, 3);
  assert.throws(
    () => ownDevice('cuda', { placement, devices: 1, launched: true }),
    /process 3 of this machine has no GPU: there is 1\. Start at most that many \(--num-gpus 1\)/,
  );
  assert.throws(() => ownDevice('cuda', { placement, devices: 2, launched: false }), /no GPU: there are 2/);
});

test('a rank that does not know its number on the machine takes the only device, or is refused', () => {
  const placement = placementOf({ RANK: '1', WORLD_SIZE: '2' });
  assert.equal(ownDevice('cuda', { placement, devices: 1, launched: false }), 'cuda:0');
  assert.equal(ownDevice('cuda:3', { placement, devices: 4, launched: false }), 'cuda:3');
  assert.throws(
    () => ownDevice('cuda', { placement, devices: 4, launched: false }),
    /one of 2 processes \(RANK, WORLD_SIZE\).*set LOCAL_RANK, by which each takes one of the 4 GPUs/,
  );
  const alone = placementOf({ RANK: '0', WORLD_SIZE: '1' });
  assert.equal(ownDevice('cuda', { placement: alone, devices: 4, launched: false }), 'cuda:0');
});

test('a device named by its index is the current one from then on', skipWithout('cuda', 2), (t) => {
  t.after(() => torch.cuda.setDevice(0));
  const cfg = getCfg();
  cfg.MODEL.DEVICE = 'cuda:1';
  assert.equal(resolveDevice(cfg).MODEL.DEVICE, 'cuda:1');
  assert.equal(torch.cuda.currentDevice(), 1);
  cfg.MODEL.DEVICE = 'cuda';
  assert.equal(resolveDevice(cfg), cfg);
  cfg.MODEL.DEVICE = 'cuda:99';
  assert.throws(() => resolveDevice(cfg), /'cuda:99', but of CUDA devices there are/);
});
