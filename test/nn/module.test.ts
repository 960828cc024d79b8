import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as torch from '../../src/torch/index.js';

const { nn } = torch;
type Tensor = torch.Tensor;

class Block extends nn.Module {
  conv = new nn.Conv2d(3, 4, 3, { padding: 1, bias: false });
  bn = new nn.BatchNorm2d(4);
  scale = new nn.Parameter(torch.ones([1]));

  constructor() {
    super();
    this.registerBuffer('steps', torch.zeros([2]));
    this.registerBuffer('scratch', torch.zeros([2]), false);
  }

  protected forward(x: Tensor): Tensor {
    return this.bn.call(this.conv.call(x)).mul(this.scale);
  }
}

class Net extends nn.Module {
  backbone = new nn.Sequential(new Block(), new nn.ReLU(), new Block());
  heads = new nn.ModuleDict({ a: new nn.Linear(4, 2), b: new nn.Linear(4, 3) });

  protected forward(x: Tensor): Tensor {
    const features = this.backbone.call(x).mean([2, 3]);
    return this.heads.get('a').call(features);
  }
}

test('state dict: PyTorch order, own parameters, persistent buffers, then children', () => {
  assert.deepEqual(
    [...new Block().stateDict().keys()],
    [
      'scale',
      'steps',
      'conv.weight',
      'bn.weight',
      'bn.bias',
      'bn.running_mean',
      'bn.running_var',
      'bn.num_batches_tracked',
    ],
  );
  const net = new Net();
  assert.deepEqual(
    [...net.namedParameters()].map(([name]) => name),
    [
      'backbone.0.scale',
      'backbone.0.conv.weight',
      'backbone.0.bn.weight',
      'backbone.0.bn.bias',
      'backbone.2.scale',
      'backbone.2.conv.weight',
      'backbone.2.bn.weight',
      'backbone.2.bn.bias',
      'heads.a.weight',
      'heads.a.bias',
      'heads.b.weight',
      'heads.b.bias',
    ],
  );
  assert.ok([...net.namedBuffers()].some(([name]) => name === 'backbone.0.scratch'));
});

test('a state dict shares memory and survives the scope in which it was made', () => {
  const linear = new nn.Linear(2, 2);
  let state = new Map<string, Tensor>();
  torch.scope(() => {
    state = linear.stateDict();
  });
  torch.noGrad(() => linear.weight.fill_(3));
  assert.deepEqual(state.get('weight')?.toArray(), [
    [3, 3],
    [3, 3],
  ]);
  assert.equal(state.get('weight')?.requiresGrad, false);
});

test('loadStateDict converts, reports, and when strict names everything and loads nothing', () => {
  const net = new nn.Sequential(new nn.Linear(2, 2), new nn.Linear(2, 3));
  const before = net.stateDict().get('0.weight')?.toArray();
  const state = new Map<string, Tensor>([
    ['0.weight', torch.ones([2, 2], { dtype: torch.float64 })],
    ['0.bias', torch.ones([3])],
    ['1.weight', torch.ones([3, 2])],
    ['other', torch.ones([1])],
  ]);
  assert.throws(
    () => net.loadStateDict(state),
    (error: Error) => {
      assert.match(error.message, /missing keys: 1\.bias/);
      assert.match(error.message, /unexpected keys: other/);
      assert.match(error.message, /'0\.bias': the model has \[2\], the state dict \[3\]/);
      return true;
    },
  );
  assert.deepEqual(net.stateDict().get('0.weight')?.toArray(), before);
  const report = net.loadStateDict(state, { strict: false });
  assert.deepEqual(report, {
    loaded: ['0.weight', '1.weight'],
    missing: ['1.bias'],
    unexpected: ['other'],
    mismatched: [{ key: '0.bias', expected: [2], found: [3] }],
  });
  const weight = net.stateDict().get('0.weight') as Tensor;
  assert.deepEqual(weight.toArray(), [
    [1, 1],
    [1, 1],
  ]);
  assert.equal(weight.dtype, torch.float32);
  assert.throws(
    () => net.loadStateDict(new Map([['0.weight', 5 as unknown as Tensor]])),
    /'0\.weight' is not a Tensor/,
  );
});

test('a batch counter may be missing, as in old checkpoints', () => {
  const bn = new nn.BatchNorm1d(2);
  const state = bn.stateDict();
  state.delete('num_batches_tracked');
  assert.deepEqual(bn.loadStateDict(state).missing, []);
});

test('getModule and find go by dotted names', () => {
  const net = new Net();
  assert.equal(net.getModule('backbone.2.bn').typeName, 'BatchNorm2d');
  assert.equal(net.getModule(''), net);
  assert.throws(
    () => net.getModule('backbone.7'),
    /'backbone' \(Sequential\) has no sub-module '7'; it has: 0, 1, 2/,
  );
  const names = (pattern: string): string[] => net.find(pattern).map(([name]) => name);
  assert.deepEqual(names('backbone.*'), ['backbone.0', 'backbone.1', 'backbone.2']);
  assert.deepEqual(names('**.bn'), ['backbone.0.bn', 'backbone.2.bn']);
  assert.deepEqual(names('backbone.**'), [
    'backbone.0',
    'backbone.0.conv',
    'backbone.0.bn',
    'backbone.1',
    'backbone.2',
    'backbone.2.conv',
    'backbone.2.bn',
  ]);
  assert.deepEqual(names('*.?'), ['backbone.0', 'backbone.1', 'backbone.2', 'heads.a', 'heads.b']);
  assert.deepEqual(names('nothing'), []);
});

test('shared modules and parameters: once in parameters, under every name in the state dict', () => {
  const linear = new nn.Linear(2, 2);
  const net = new nn.Sequential(linear, linear);
  assert.equal([...net.parameters()].length, 2);
  assert.deepEqual([...net.stateDict().keys()], ['0.weight', '0.bias', '1.weight', '1.bias']);
  assert.equal([...net.children()].length, 1);
});

test('a module that contains itself ends every walk', () => {
  class Loop extends nn.Module {
    inner: torch.nn.AnyModule | null = null;
    weight = new nn.Parameter(torch.ones([1]));
    protected forward(x: Tensor): Tensor {
      return x;
    }
  }
  const loop = new Loop();
  loop.inner = loop;
  assert.deepEqual([...loop.stateDict().keys()], ['weight']);
  assert.equal([...loop.modules()].length, 1);
  assert.equal(loop.eval().training, false);
  assert.match(loop.toString(), /\(inner\): <Loop above>/);
});

test('modes, gradients and apply reach every module, children first', () => {
  const net = new Net();
  net.eval();
  assert.ok([...net.modules()].every((m) => !m.training));
  net.train();
  assert.ok([...net.modules()].every((m) => m.training));
  const order: string[] = [];
  new nn.Sequential(new nn.Linear(1, 1), new nn.Sequential(new nn.ReLU())).apply((m) =>
    order.push(m.typeName),
  );
  assert.deepEqual(order, ['Linear', 'ReLU', 'Sequential', 'Sequential']);
  net.requiresGrad_(false);
  assert.ok([...net.parameters()].every((p) => !p.requiresGrad));
  const linear = new nn.Linear(2, 1);
  linear
    .call(torch.ones([1, 2]))
    .sum()
    .backward();
  assert.notEqual(linear.weight.grad, null);
  linear.zeroGrad();
  assert.equal(linear.weight.grad, null);
});

test('to converts in place: floating-point tensors to the dtype, with their gradients', () => {
  const bn = new nn.BatchNorm1d(2);
  const weight = bn.weight!;
  bn.call(torch.randn([4, 2]))
    .square()
    .sum()
    .backward();
  bn.to(torch.float64);
  assert.equal(bn.weight, weight);
  assert.equal(weight.dtype, torch.float64);
  assert.equal(weight.grad?.dtype, torch.float64);
  assert.equal(bn.running_mean?.dtype, torch.float64);
  assert.equal(bn.num_batches_tracked?.dtype, torch.int64);
  assert.equal(bn.call(torch.randn([4, 2], { dtype: torch.float64 })).dtype, torch.float64);
  assert.throws(() => bn.to(torch.int64), /only floating-point/);
  const conv = new nn.Conv2d(3, 4, 3).to({ memoryFormat: 'channels_last' });
  assert.deepEqual(conv.weight.strides, [27, 1, 9, 3]);
  assert.ok(conv.weight.isLeaf && conv.weight.requiresGrad);
});

test('buffers: replaced ones are kept, others refused', () => {
  const block = new Block();
  const fields = block as unknown as { steps: Tensor };
  torch.scope(() => {
    fields.steps = torch.full([2], 7);
  });
  assert.deepEqual(block.stateDict().get('steps')?.toArray(), [7, 7]);
  assert.throws(() => {
    fields.steps = 3 as unknown as Tensor;
  }, /buffer 'steps' of Block must be a Tensor or null/);
  assert.throws(() => block.registerBuffer('a.b', null), /have no dot/);
});

test('names known only at run time', () => {
  const net = new Block();
  net.addModule('extra', new nn.Linear(1, 1));
  net.registerParameter('gamma', new nn.Parameter(torch.zeros([1])));
  net.registerParameter('none', null);
  const keys = [...net.stateDict().keys()];
  assert.ok(keys.includes('extra.weight') && keys.includes('gamma') && !keys.includes('none'));
});

test('a parameter shares memory, is a leaf and outlives the scope', () => {
  const source = torch.ones([2]);
  const parameter = torch.scope(() => {
    const inner = new nn.Parameter(source);
    torch.ones([1]);
    return { get: () => inner };
  });
  torch.noGrad(() => source.fill_(5));
  assert.deepEqual(parameter.get().toArray(), [5, 5]);
  assert.ok(parameter.get().isLeaf && parameter.get().requiresGrad);
  assert.equal(new nn.Parameter(source, false).requiresGrad, false);
});

test('call releases what forward made and did not return', () => {
  let inner: Tensor | undefined;
  class Leaky extends nn.Module {
    protected forward(x: Tensor): Tensor {
      inner = x.add(1);
      return inner.mul(2);
    }
  }
  const out = new Leaky().call(torch.ones([1]));
  assert.equal(out.item(), 4);
  assert.ok(inner?.isDisposed);
  assert.throws(() => new nn.ModuleList([]).call(...([] as never)), /cannot be called/);
});

test('containers', () => {
  const [a, b] = [new nn.ReLU(), new nn.Identity()];
  const list = new nn.ModuleList<torch.nn.TensorModule>([a]).append(b);
  assert.deepEqual([...list], [a, b]);
  assert.equal(list.at(-1), b);
  assert.equal(list.length, 2);
  assert.throws(() => list.at(2), /index 2 is out of range/);
  list.replace(0, b);
  assert.equal(list.at(0), b);
  const named = new nn.Sequential(new Map([['conv', new nn.Conv2d(3, 2, 1)]]));
  assert.deepEqual([...named.stateDict().keys()], ['conv.weight', 'conv.bias']);
  const dict = new nn.ModuleDict<torch.nn.TensorModule>({ x: a });
  assert.throws(() => dict.get('y'), /no 'y'; it has: x/);
  assert.equal(dict.set('y', b).get('y'), b);
  assert.equal(dict.delete('x'), true);
  assert.deepEqual([...dict.keys()], ['y']);
  assert.throws(() => list.append({} as never), /not a Module/);
});
