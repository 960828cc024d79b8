import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reachableAddress } from '../../src/torch/distributed/addresses.js';
import { firstHost, meetingOf, placementOf } from '../../src/torch/distributed/environment.js';

const TORCHRUN = { RANK: '5', WORLD_SIZE: '8', LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '4' };
const SLURM = {
  SLURM_PROCID: '5',
  SLURM_NTASKS: '8',
  SLURM_STEP_NUM_TASKS: '8',
  SLURM_LOCALID: '1',
  SLURM_STEP_ID: '0',
  SLURM_TASKS_PER_NODE: '4(x2)',
  SLURM_STEP_NODELIST: 'gpu[03-04]',
  SLURM_JOB_ID: '123456',
};

test('the placement is torchrun’s, else that of a SLURM step of several tasks', () => {
  const expected = { rank: 5, worldSize: 8, localRank: 1, localWorldSize: 4 };
  assert.deepEqual(placementOf(TORCHRUN), expected);
  assert.deepEqual(placementOf(SLURM), expected);
  assert.deepEqual(placementOf({ ...SLURM, ...TORCHRUN, RANK: '6' }), { ...expected, rank: 6 });
  assert.equal(placementOf({}), undefined);
  const { SLURM_STEP_ID: _, ...script } = SLURM; // the batch script itself
  assert.equal(placementOf(script), undefined);
  assert.equal(placementOf({ ...SLURM, SLURM_NTASKS: '1', SLURM_STEP_NUM_TASKS: '1' }), undefined);
  assert.deepEqual(placementOf({ RANK: '0', WORLD_SIZE: '1' }), {
    rank: 0,
    worldSize: 1,
    localRank: 0,
    localWorldSize: 1,
  });
});

test('a placement that cannot be is refused', () => {
  assert.throws(
    () => placementOf({ RANK: 'two', WORLD_SIZE: '4' }),
    /variable RANK is 'two': a whole number/,
  );
  assert.throws(
    () => placementOf({ RANK: '4', WORLD_SIZE: '4' }),
    /rank 4 of 4 processes: ranks count from 0/,
  );
  assert.throws(() => placementOf({ RANK: '0', WORLD_SIZE: '0' }), /WORLD_SIZE is '0'/);
});

test('processes meet at MASTER_ADDR and MASTER_PORT, else on the first node at a port of the job', () => {
  const master = { MASTER_ADDR: 'host0', MASTER_PORT: '29500' };
  assert.deepEqual(meetingOf(master), { host: 'host0', port: 29500 });
  assert.deepEqual(meetingOf({ ...SLURM, ...master }), { host: 'host0', port: 29500 });
  assert.deepEqual(meetingOf({ ...SLURM, MASTER_ADDR: '' }), { host: 'gpu03', port: 23456 });
  assert.deepEqual(meetingOf({ ...SLURM, MASTER_PORT: '29500' }), { host: 'gpu03', port: 29500 });
  assert.throws(() => meetingOf({ MASTER_ADDR: 'host0' }), /set MASTER_ADDR .* and MASTER_PORT/);
  assert.deepEqual(['node[03-05,9],other', 'a1,a2', 'single', 'gpu[7]'].map(firstHost), [
    'node03',
    'a1',
    'single',
    'gpu7',
  ]);
});

test('a process whose address is its machine’s own is reached as others know rank 0', () => {
  const [first, second] = [
    { own: '127.0.1.1', master: '127.0.1.1' },
    { own: '10.0.0.2', master: '10.0.0.1' },
  ];
  assert.equal(reachableAddress('127.0.1.1', [first!, second!]), '10.0.0.1');
  assert.equal(reachableAddress('10.0.0.2', [first!, second!]), '10.0.0.2');
  assert.equal(reachableAddress('::1', [{ own: '::1', master: '::1' }, second!]), '10.0.0.1');
  // One machine: its own address it is.
  assert.equal(reachableAddress('127.0.1.1', [first!, first!]), '127.0.1.1');
});
