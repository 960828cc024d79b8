import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as torch from '../../src/torch/index.js';
import { pythonTorch, pythonTorchMissing } from '../support/paths.js';
import { runPython } from '../support/python.js';

torch.setNumThreads(1);

const list = (tensor: torch.Tensor) =>
  Array.from(tensor.toTypedArray() as ArrayLike<number | bigint>, Number);

/** One stream, drawn from in the same order in both languages. */
function draw(generator?: torch.Generator): number[][] {
  const options = generator ? { generator } : {};
  const ones = torch.ones([40]);
  return [
    torch.randn([5], options),
    torch.randn([40], options),
    torch.rand([7], options),
    torch.rand([3], { ...options, dtype: torch.float64 }),
    torch.randperm(12, options),
    torch.randint(-5, 100, [9], options),
    torch.bernoulli(ones.mul(0.3), options),
    torch.multinomial(ones, 6, false, options),
    ones.clone().normal_(1, 2, options),
    ones.clone().uniform_(-1, 1, options),
    ones.clone().exponential_(1, options),
    torch.normal(ones, 0.5, options),
  ].map(list);
}

const DRAW = `
def draw(g):
    ones = torch.ones(40)
    return [t.tolist() for t in (torch.randn(5, generator=g), torch.randn(40, generator=g), torch.rand(7, generator=g),
        torch.rand(3, generator=g, dtype=torch.float64), torch.randperm(12, generator=g),
        torch.randint(-5, 100, (9,), generator=g), torch.bernoulli(ones * 0.3, generator=g),
        torch.multinomial(ones, 6, generator=g), ones.clone().normal_(1, 2, generator=g),
        ones.clone().uniform_(-1, 1, generator=g), ones.clone().exponential_(1, generator=g),
        torch.normal(ones, 0.5, generator=g))]
`;

describe('streams equal Python to the last bit', {
  skip: pythonTorch() === undefined && pythonTorchMissing,
}, () => {
  interface Answer {
    streams: Record<string, number[][]>;
    own: number[][];
    state: number[];
    after: number[][];
    dropout: number[];
    weights: Record<string, number[]>;
    received: number[];
  }
  const seeds = ['0', '1', '42', '-1', '9007199254740991', '18446744073709551615'];
  torch.manualSeed(77);
  torch.randn([3]);
  const sent = list(torch.getRngState());
  const continued = list(torch.randn([20]));

  const answer = runPython<Answer>(
    `
import json, sys, torch
torch.set_num_threads(1)
task = json.load(sys.stdin)
${DRAW}
out = {'streams': {}, 'weights': {}}
for s in task['seeds']:
    torch.manual_seed(int(s))
    out['streams'][s] = draw(None)
out['own'] = draw(torch.Generator().manual_seed(123))
torch.manual_seed(5); torch.randn(3); torch.rand(1)
out['state'] = torch.get_rng_state().tolist()
out['after'] = draw(None)
torch.manual_seed(6)
out['dropout'] = torch.nn.functional.dropout(torch.ones(50), 0.3).tolist()
torch.manual_seed(7)
linear, conv = torch.nn.Linear(5, 3), torch.nn.Conv2d(3, 4, 3)
w = torch.empty(4, 3, 3, 3)
out['weights'] = {'linear': linear.weight.flatten().tolist() + linear.bias.tolist(),
    'conv': conv.weight.flatten().tolist() + conv.bias.tolist(),
    'kaiming': torch.nn.init.kaiming_normal_(w, mode='fan_out', nonlinearity='relu').flatten().tolist(),
    'xavier': torch.nn.init.xavier_uniform_(w).flatten().tolist()}
torch.set_rng_state(torch.tensor(task['sent'], dtype=torch.uint8))
out['received'] = torch.randn(20).tolist()
json.dump(out, sys.stdout)
`,
    { seeds, sent },
  );

  for (const seed of seeds) {
    test(`seed ${seed}`, () => {
      const big = BigInt(seed);
      torch.manualSeed(big > 2n ** 53n ? big : Number(seed));
      assert.deepEqual(draw(), answer.streams[seed]);
      torch.manualSeed(big);
      assert.deepEqual(draw()[0], answer.streams[seed]![0]);
    });
  }

  test('a generator of one’s own', () => {
    torch.manualSeed(1);
    assert.deepEqual(draw(new torch.Generator().manualSeed(123)), answer.own);
    assert.deepEqual(list(torch.randn([5])), answer.streams['1']![0], 'the default one is not touched');
  });

  test('states go both ways', () => {
    torch.setRngState(torch.tensor(Uint8Array.from(answer.state)));
    assert.deepEqual(draw(), answer.after);
    assert.deepEqual(answer.received, continued);
  });

  test('dropout and initialisation', () => {
    torch.manualSeed(6);
    assert.deepEqual(list(torch.dropout(torch.ones([50]), 0.3, true)), answer.dropout);
    torch.manualSeed(7);
    const linear = new torch.nn.Linear(5, 3);
    const conv = new torch.nn.Conv2d(3, 4, 3);
    const w = torch.empty([4, 3, 3, 3]);
    assert.deepEqual([...list(linear.weight), ...list(linear.bias!)], answer.weights.linear);
    assert.deepEqual([...list(conv.weight), ...list(conv.bias!)], answer.weights.conv);
    const { init } = torch.nn;
    assert.deepEqual(
      list(init.kaimingNormal_(w, { mode: 'fan_out', nonlinearity: 'relu' })),
      answer.weights.kaiming,
    );
    assert.deepEqual(list(init.xavierUniform_(w)), answer.weights.xavier);
  });
});

test('a generator’s state and seed', () => {
  const generator = new torch.Generator('cpu').manualSeed(2n ** 63n);
  assert.equal(generator.initialSeed(), 2n ** 63n);
  const state = generator.getState();
  assert.equal(state.dtype, torch.uint8);
  const first = list(torch.rand([4], { generator }));
  assert.notDeepEqual(list(torch.rand([4], { generator })), first);
  generator.setState(state);
  assert.deepEqual(list(torch.rand([4], { generator })), first);
  const other = new torch.Generator().setState(state);
  assert.deepEqual(list(torch.rand([4], { generator: other })), first);
  assert.equal(torch.defaultGenerator(), torch.defaultGenerator('cpu'));
});

test('wrong seeds and states', () => {
  const generator = new torch.Generator();
  for (const seed of [
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e300,
    2n ** 64n,
    -(2n ** 63n) - 1n,
    'a',
    null,
  ]) {
    assert.throws(() => generator.manualSeed(seed as number), TypeError, String(seed));
    assert.throws(() => torch.manualSeed(seed as number), TypeError);
  }
  assert.throws(() => generator.setState(torch.ones([3])), /RNG state|ByteTensor/);
  assert.throws(() => generator.setState(torch.zeros([3], { dtype: torch.uint8 })), /RNG state|size/);
  assert.throws(() => generator.setState({} as torch.Tensor), TypeError);
  assert.throws(() => torch.rand([1], { generator: {} as torch.Generator }), TypeError);
  assert.throws(() => new torch.Generator('nowhere'), /nowhere/);
  const forged = Object.create(torch.Generator.prototype) as torch.Generator;
  assert.throws(() => torch.rand([1], { generator: forged }), TypeError);
  assert.throws(() => forged.getState(), TypeError);
});
