import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { writeTinySet } from '../engine/tiny.js';
import { temporaryFolder } from '../support/scripts.js';

const program = fileURLToPath(new URL('./parallel_train.js', import.meta.url));
const tag = `rn${process.pid % 100000}`;
const spaces = [`${tag}a`, `${tag}b`] as const;
const address = (machine: number): string => `10.213.77.${machine + 1}`;

function ip(...args: string[]): boolean {
  return spawnSync('ip', args, { stdio: 'ignore' }).status === 0;
}

/** A machine's /etc/hosts: as on Debian, the first one's own name means itself by an address that others do not reach. */
const hosts = (machine: number): string =>
  `127.0.0.1 localhost\n${machine === 0 ? '127.0.1.1' : address(0)} first-machine\n`;

/** Two network namespaces joined by a cable; false where that is not allowed. */
function connect(): boolean {
  if (process.platform !== 'linux' || !spaces.every((space) => ip('netns', 'add', space))) return false;
  if (!ip('link', 'add', spaces[0], 'type', 'veth', 'peer', 'name', spaces[1])) return false;
  for (const [machine, space] of spaces.entries()) {
    mkdirSync(`/etc/netns/${space}`, { recursive: true });
    writeFileSync(`/etc/netns/${space}/hosts`, hosts(machine));
  }
  return spaces.every(
    (space, machine) =>
      ip('link', 'set', space, 'netns', space) &&
      ip('-n', space, 'addr', 'add', `${address(machine)}/24`, 'dev', space) &&
      ip('-n', space, 'link', 'set', 'lo', 'up') &&
      ip('-n', space, 'link', 'set', space, 'up'),
  );
}

function disconnect(): void {
  for (const space of spaces) {
    ip('netns', 'del', space);
    rmSync(`/etc/netns/${space}`, { recursive: true, force: true });
  }
}

const connected = connect();
const skip = connected ? false : 'network namespaces need root and the program ip';
if (!connected) disconnect();

describe('two machines', { skip }, () => {
  const root = temporaryFolder({ after });
  const output = join(root, 'out');

  before(() => writeTinySet(root));
  after(disconnect);

  /** Both machines, one rank each. */
  function train(env: Record<string, string>): Promise<{ code: number | null; stderr: string }[]> {
    return Promise.all(
      spaces.map((space, machine) => {
        const child = spawn('ip', ['netns', 'exec', space, process.execPath, program, output, '1'], {
          env: {
            ...process.env,
            FASTREID_DATASETS: root,
            OMP_NUM_THREADS: '1',
            MACHINES: '2',
            MACHINE_RANK: String(machine),
            DIST_URL: 'tcp://first-machine:29517',
            LOST_AFTER: '4',
            ...env,
          },
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        let stderr = '';
        child.stderr.on('data', (data: Buffer) => {
          stderr += data.toString();
        });
        return new Promise<{ code: number | null; stderr: string }>((resolve) => {
          child.on('close', (code) => resolve({ code, stderr }));
        });
      }),
    );
  }

  it('both say whom they lost when the cable is cut, and go on when it is mended', async () => {
    const marker = join(root, 'cut');
    const running = train({ PAUSE_AT: '6', MARKER: marker });
    for (let i = 0; i < 600 && !existsSync(marker); i++) await sleep(100);
    assert.ok(existsSync(marker), 'training came to the sixth iteration');
    assert.ok(ip('-n', spaces[1], 'link', 'set', spaces[1], 'down'));
    const [first, second] = await running;
    assert.match(first!.stderr, /rank 0 failed: rank 1 has shown no sign of life for \d+ s/);
    assert.match(
      second!.stderr,
      /rank 1 failed: rank 0, which keeps the store at first-machine:29517, does not answer/,
    );
    assert.notEqual(first!.code, 0);
    assert.notEqual(second!.code, 0);

    assert.ok(ip('-n', spaces[1], 'link', 'set', spaces[1], 'up'));
    for (const { code, stderr } of await train({ RESUME: '1' })) assert.equal(code, 0, stderr);
    const notes = [0, 1].map((rank) => JSON.parse(readFileSync(join(output, `note${rank}.json`), 'utf8')));
    // The first epoch had been saved: its four steps are not repeated.
    for (const { iter, outcome, losses } of notes)
      assert.deepEqual([iter, outcome, losses.length], [12, 'finished', 8]);
  });
});
