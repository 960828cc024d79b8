import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { models } from '../../bench/models.js';
import { pythonTorch, pythonTorchMissing, repoRoot } from '../support/paths.js';

const folder = mkdtempSync(join(tmpdir(), 'bench-models-'));
after(() => rmSync(folder, { recursive: true }));

function run(command: string, args: string[], env: NodeJS.ProcessEnv): void {
  const { status, stderr } = spawnSync(command, args, { env, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
}

test('a recorded model is a Python function that computes the same', {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  const python = pythonTorch()!;
  const script = join(repoRoot, 'dist/bench/models.js');
  run(process.execPath, [script, '--child', 'record', 'shufflenetv2', folder], process.env);
  // Fails where a call cannot be repeated, or where the sum of the results is another.
  run(python.command, [join(repoRoot, 'bench/python/replay.py'), 'write', folder], python.env);
  for (const [mode, result] of [
    ['eval', 'mean'],
    ['train', 'cross_entropy_loss'],
  ]) {
    const source = readFileSync(join(folder, `${mode}.py`), 'utf8');
    assert.match(source, /^import torch\n+def run\(values\):\n/);
    assert.match(
      source,
      new RegExp(`${result}\\(.*\\n( +del .*\\n)?( +torch.set_grad.*\\n)? +return v\\d+\\n$`),
    );
  }
});

test('models that there are not: those there are are named', () => {
  assert.throws(() => models(1, ['alexnet']), /no such models: alexnet; there are resnet, .*convnext$/);
});
