// What takes the time: libtorch's profiler, its events as a tree for each thread, and tables made of it.

import { closeSync, fstatSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { native } from './native.js';
import type { AnyModule } from './nn/module.js';
import type { HookHandle } from './tensor.js';

/** What is recorded besides the time of every operator. */
export interface ProfilerOptions {
  /** Bytes that operators allocate and free. Default true. */
  memory?: boolean;
  /** Shapes of operators' arguments, in the trace. Default false: they cost time. */
  shapes?: boolean;
  /** File to write a trace to, which chrome://tracing and ui.perfetto.dev open (JSON). */
  trace?: string;
}

/**
 * `operator`: called by a program or by another operator; `backward`: a node of the graph at work; `range`: named by
 * {@link recordRange}; `kernel`: on a device, its time and not that of the call, copies included.
 */
export type EventKind = 'operator' | 'backward' | 'range' | 'kernel';

/** Something that took time. */
export interface ProfilerEvent {
  name: string;
  kind: EventKind;
  thread: number;
  /** µs since the recording began. */
  start: number;
  /** µs, with what happened inside it. */
  duration: number;
  /** µs, without it. */
  self: number;
  /** Bytes allocated less bytes freed, with what happened inside; on the CPU and devices together. */
  memory: number;
  selfMemory: number;
  children: ProfilerEvent[];
  parent: ProfilerEvent | undefined;
  /** The node that an operator makes in the graph and the one that runs in backward have the same; −1: none. */
  sequence: number;
  /** In backward, the thread of the forward. */
  forwardThread: number;
}

/** One line of a table: all events of one name. Times in µs, memory in bytes. */
export interface ProfileRow {
  name: string;
  kind: EventKind;
  calls: number;
  /** Not counted twice where an event has one of its own name inside. */
  total: number;
  self: number;
  memory: number;
  selfMemory: number;
}

/** What a module took, by its dotted path. Times in µs. */
export interface ModuleTimes {
  path: string;
  calls: number;
  /** In its calls, the modules inside included. */
  forward: number;
  /** Of that, in operators that it called itself. */
  selfForward: number;
  /** In the backward of its operators, the modules inside included. */
  backward: number;
}

const FIELDS = 9;
const BACKWARD_SCOPE = 1;
const USER_SCOPE = 7;
const CPU = 0;
const MEMORY = '[memory]';
/** What the engine does for one node of the graph: the node itself, and passing its gradients on. */
const ENGINE = 'autograd::engine::evaluate_function';
/** Ranges that `nameModules` makes: no other text begins so. */
const MODULE_PREFIX = 'module ';

/** A recording that has ended. */
export class Profile {
  /** Events that are inside of no other, in order of their start, thread by thread. */
  readonly roots: readonly ProfilerEvent[];
  /** All events, each before those inside it. */
  readonly events: readonly ProfilerEvent[];

  /** @internal */
  constructor(names: readonly string[], numbers: Float64Array) {
    const { roots, events } = buildTree(names, numbers);
    this.roots = roots;
    this.events = events;
  }

  /** Events by name, those that take longest themselves first. */
  table(kinds: readonly EventKind[] = ['operator', 'backward', 'kernel']): ProfileRow[] {
    const rows = new Map<string, ProfileRow>();
    for (const event of this.events) {
      const { name, kind } = event;
      if (!kinds.includes(kind)) continue;
      const key = `${kind} ${name}`;
      const row = rows.get(key) ?? { name, kind, calls: 0, total: 0, self: 0, memory: 0, selfMemory: 0 };
      rows.set(key, row);
      row.calls++;
      row.self += event.self;
      row.selfMemory += event.selfMemory;
      if (!hasAbove(event, (above) => above.name === name && above.kind === kind)) {
        row.total += event.duration;
        row.memory += event.memory;
      }
    }
    return [...rows.values()].sort((a, b) => b.self - a.self);
  }

  /** Times of the modules that `nameModules` named, in the order of their first calls. */
  modules(): ModuleTimes[] {
    const rows = new Map<string, ModuleTimes>();
    // The last operator to start with a number is the one that made the node: those before it made none.
    const makers = new Map<string, ProfilerEvent>();
    for (const event of this.events) {
      if (event.kind === 'operator' && event.sequence >= 0)
        makers.set(`${event.thread} ${event.sequence}`, event);
      const path = modulePath(event);
      if (path === undefined) continue;
      const row = rows.get(path) ?? { path, calls: 0, forward: 0, selfForward: 0, backward: 0 };
      rows.set(path, row);
      row.calls++;
      row.forward += event.duration;
      row.selfForward += timeOutsideModules(event);
    }
    for (const event of this.events) {
      const { kind, sequence } = event;
      if (kind !== 'backward' || sequence < 0 || hasAbove(event, (above) => above.sequence === sequence))
        continue;
      const maker = makers.get(`${event.forwardThread} ${event.sequence}`);
      const paths = new Set<string>();
      for (let above = maker?.parent; above; above = above.parent) {
        const path = modulePath(above);
        if (path !== undefined) paths.add(path);
      }
      for (const path of paths) rows.get(path)!.backward += event.duration;
    }
    return [...rows.values()];
  }

  /** µs in ranges of this name. */
  range(name: string): number {
    return this.events.reduce(
      (sum, event) => sum + (event.kind === 'range' && event.name === name ? event.duration : 0),
      0,
    );
  }
}

function modulePath(event: ProfilerEvent): string | undefined {
  if (event.kind !== 'range' || !event.name.startsWith(MODULE_PREFIX)) return undefined;
  return event.name.slice(MODULE_PREFIX.length);
}

/** Time of an event less that of the modules called inside it. */
function timeOutsideModules(event: ProfilerEvent): number {
  const inModules = (inside: ProfilerEvent): number =>
    modulePath(inside) === undefined
      ? inside.children.reduce((sum, child) => sum + inModules(child), 0)
      : inside.duration;
  return event.duration - event.children.reduce((sum, child) => sum + inModules(child), 0);
}

function hasAbove(event: ProfilerEvent, wanted: (above: ProfilerEvent) => boolean): boolean {
  for (let above = event.parent; above; above = above.parent) if (wanted(above)) return true;
  return false;
}

function kindOf(name: string, scope: number, device: number): EventKind {
  if (device !== CPU) return 'kernel';
  if (scope === USER_SCOPE) return 'range';
  return scope === BACKWARD_SCOPE || name.startsWith(ENGINE) ? 'backward' : 'operator';
}

/** Puts each event into the one of its thread in which it happened, and allocations into whatever was at work. */
function buildTree(
  names: readonly string[],
  numbers: Float64Array,
): { roots: ProfilerEvent[]; events: ProfilerEvent[] } {
  const events: ProfilerEvent[] = [];
  const allocations: { thread: number; time: number; bytes: number }[] = [];
  names.forEach((name, i) => {
    const [start, duration, thread, scope, bytes, device, sequence, forwardThread, annotation] =
      numbers.subarray(i * FIELDS, (i + 1) * FIELDS);
    if (name === MEMORY) {
      allocations.push({ thread, time: start / 1000, bytes });
      return;
    }
    // What a range spans on a device is no work of its own: the kernels in it are there by themselves.
    if (device !== CPU && annotation) return;
    const kind = kindOf(name, scope, device);
    events.push({
      name,
      kind,
      // Kernels run beside the threads that asked for them.
      thread: kind === 'kernel' ? -1 : thread,
      start: start / 1000,
      duration: duration / 1000,
      self: duration / 1000,
      memory: 0,
      selfMemory: 0,
      children: [],
      parent: undefined,
      sequence,
      forwardThread,
    });
  });
  // Of events that start together, the longer one is outside.
  events.sort((a, b) => a.thread - b.thread || a.start - b.start || b.duration - a.duration);
  allocations.sort((a, b) => a.thread - b.thread || a.time - b.time);
  const roots: ProfilerEvent[] = [];
  let open: ProfilerEvent | undefined;
  let next = 0;
  const close = (time: number, thread: number): void => {
    while (open && (open.thread !== thread || open.start + open.duration <= time)) open = open.parent;
  };
  const allocate = (until: { thread: number; start: number } | undefined): void => {
    for (; next < allocations.length; next++) {
      const { thread, time, bytes } = allocations[next];
      if (until && (thread > until.thread || (thread === until.thread && time >= until.start))) return;
      close(time, thread);
      if (!open) continue;
      open.selfMemory += bytes;
      for (let above: ProfilerEvent | undefined = open; above; above = above.parent) above.memory += bytes;
    }
  };
  for (const event of events) {
    allocate(event);
    close(event.start, event.thread);
    if (event.kind !== 'kernel' && open) {
      event.parent = open;
      open.children.push(event);
      open.self -= event.duration;
    } else {
      roots.push(event);
    }
    if (event.kind !== 'kernel') open = event;
  }
  allocate(undefined);
  return { roots, events };
}

let tracePath: string | undefined;

/**
 * Begins to record on this thread and on those that libtorch's backward uses for it. One recording at a time in a
 * process; {@link stopProfiler} ends it. Asynchronous code may run in between.
 */
export function startProfiler({ memory = true, shapes = false, trace }: ProfilerOptions = {}): void {
  // Else Kineto says on stderr that it begins and ends.
  process.env.KINETO_LOG_LEVEL ??= '9';
  native.startProfiler(memory, shapes);
  tracePath = trace;
}

/** Ends the recording and writes the trace, if one was asked for. */
export function stopProfiler(): Profile {
  const path = tracePath;
  tracePath = undefined;
  if (path === undefined) return new Profile(...native.stopProfiler(undefined));
  // Kineto looks at the ending.
  const unfinished = `${path}.${process.pid}.tmp.json`;
  try {
    const recorded = native.stopProfiler(unfinished);
    checkWhole(unfinished);
    renameSync(unfinished, path);
    return new Profile(...recorded);
  } catch (error) {
    // Kineto writes under a temporary name of its own first.
    for (const file of [unfinished, `${unfinished}.tmp`]) rmSync(file, { force: true });
    throw new Error(
      `cannot write the trace ${path}: ${(error as Error).message}. Is its folder there, with room on the disk?`,
      { cause: error },
    );
  }
}

/** Kineto does not say where it could not write. */
function checkWhole(path: string): void {
  const fd = openSync(path, 'r');
  try {
    const end = Buffer.alloc(16);
    const read = readSync(fd, end, 0, end.length, Math.max(0, fstatSync(fd).size - end.length));
    if (!end.toString('latin1', 0, read).trimEnd().endsWith('}')) throw new Error('it is cut short');
  } finally {
    closeSync(fd);
  }
}

/** Runs `body` while recording. */
export function profile<T>(body: () => T, options: ProfilerOptions = {}): { result: T; profile: Profile } {
  startProfiler(options);
  let result: T;
  try {
    result = body();
  } catch (error) {
    stopProfiler();
    throw error;
  }
  return { result, profile: stopProfiler() };
}

/** Runs `body`, which must not be asynchronous, as a range with a name: a bar in the trace around what it does. */
export function recordRange<T>(name: string, body: () => T): T {
  const depth = native.pushRange(name);
  try {
    return body();
  } finally {
    native.popRange(depth);
  }
}

/**
 * Makes each call of a module, and of all modules below it, a range with its dotted path as name, until the handle is
 * removed. Costs some µs a call; there is no need for it while nothing is recorded.
 */
export function nameModules(model: AnyModule, name = '(model)'): HookHandle {
  const handles: HookHandle[] = [];
  for (const [path, module] of model.namedModules()) {
    const depths: number[] = [];
    const range = MODULE_PREFIX + (path || name);
    handles.push(
      module.registerForwardPreHook(() => void depths.push(native.pushRange(range)), { prepend: true }),
      module.registerForwardHook(() => {
        const depth = depths.pop();
        if (depth !== undefined) native.popRange(depth);
      }),
    );
  }
  const remove = (): void => {
    for (const handle of handles) handle.remove();
  };
  return { remove, [Symbol.dispose]: remove };
}
