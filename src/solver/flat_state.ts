import * as torch from '../torch/index.js';

type Tensor = torch.Tensor;

/**
 * FastReID flattens each parameter group into one long vector before it optimizes. This turns an optimizer state
 * saved so into the state of an optimizer over the parameters themselves; any other state comes back as it is.
 *
 * @param state as `torch.load` gave it, or `optimizer.stateDict()`
 * @throws when the state is flat but its vectors are not as long as the optimizer's groups
 */
export function unflattenState(optimizer: torch.optim.Optimizer, state: unknown): unknown {
  const groups = get(state, 'param_groups');
  if (!Array.isArray(groups) || groups.length !== optimizer.paramGroups.length) return state;
  const indices = groups.map((group) => get(group, 'params'));
  const flat = indices.every((params, i) => {
    return Array.isArray(params) && params.length === 1 && optimizer.paramGroups[i].params.length > 1;
  });
  if (!flat) return state;

  const perParameter = new Map<number, Record<string, unknown>>();
  const numbered: Record<string, unknown>[] = [];
  let next = 0;
  optimizer.paramGroups.forEach(({ params }, i) => {
    const [index] = indices[i] as unknown[];
    const first = next;
    next += params.length;
    const settings = [...entries(groups[i])].filter(([key]) => key !== 'params');
    numbered.push({ ...Object.fromEntries(settings), params: params.map((_, k) => first + k) });
    const saved = get(get(state, 'state'), index);
    if (saved === undefined) return;
    for (const k of params.keys()) perParameter.set(first + k, {});
    for (const [name, value] of entries(saved)) {
      const pieces = split(value, params, `${String(name)} of parameter group ${i}`);
      for (const [k, piece] of pieces.entries()) (perParameter.get(first + k) ?? {})[String(name)] = piece;
    }
  });
  return { state: perParameter, param_groups: numbered };
}

/** The stretch of `value` for each parameter; what is no vector (the count of steps) is the same for all. */
function split(value: unknown, params: readonly Tensor[], what: string): unknown[] {
  if (!(value instanceof torch.Tensor) || value.dim() !== 1) return params.map(() => value);
  const sizes = params.map((p) => p.numel());
  const total = sizes.reduce((sum, n) => sum + n, 0);
  if (value.numel() !== total) {
    throw new Error(
      `optimizer state: ${what} has ${value.numel()} elements, the model's parameters ${total}`,
    );
  }
  const pieces = value.split_with_sizes(sizes, 0);
  return pieces.map((piece, i) => piece.view(params[i].shape));
}

function get(container: unknown, key: unknown): unknown {
  if (container instanceof Map) return container.get(key);
  return (container as Record<string, unknown> | undefined)?.[String(key)];
}

function entries(container: unknown): Iterable<[unknown, unknown]> {
  return container instanceof Map ? container : Object.entries(container as Record<string, unknown>);
}
