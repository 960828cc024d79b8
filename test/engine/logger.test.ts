import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { logger, logToFile, setLinePrinter } from '../../src/logger.js';

test('a log on a full disk is given up, the run is not', { skip: !existsSync('/dev/full') }, (t) => {
  const lines: string[] = [];
  setLinePrinter((line) => lines.push(line.replace(/^\[.*?\] /, '')));
  t.after(() => setLinePrinter(null));
  const close = logToFile('/dev/full');
  logger.info('one');
  logger.info('two');
  logger.detail('three');
  close();
  assert.deepEqual(lines, [
    'one',
    'WARN the run goes on without its log: cannot write /dev/full: ENOSPC: no space left on device, write. ' +
      'What it held before is whole; make room on that disk, or choose another folder',
    'two',
  ]);
});
