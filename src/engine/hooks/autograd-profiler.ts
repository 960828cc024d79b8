import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { logger } from '../../logger.js';
import * as torch from '../../torch/index.js';
import { ofThisRank } from '../parallel.js';
import { profileReport, type StepTimes } from '../profile-report.js';
import { HookBase, type TrainerBase } from '../train-loop.js';

export interface AutogradProfilerOptions {
  model: torch.nn.AnyModule;
  /** Which iterations are recorded, each by itself. Default: the eleventh of the run, when everything is warm. */
  when?: (trainer: TrainerBase) => boolean;
  /** Folder for traces, `profiler-trace-iter10.json`, of several processes `….rank1.json` and so on; without one none are written. */
  folder?: string | undefined;
  /** What to do with the report. Default: log it. */
  report?: (text: string) => void;
  /** Rows of each of its tables. Default 15. */
  rows?: number | undefined;
}

/** A step being recorded. Marks are times in ms since the process began. */
interface Recording {
  begin: number;
  forwardBegin?: number;
  forwardEnd?: number;
  backwardEnd?: number;
  handles: torch.HookHandle[];
}

/**
 * Records iterations with libtorch's profiler and reports what took the time: the parts of the step, and the modules
 * and operators that took longest, with the memory they used. Traces open in chrome://tracing and ui.perfetto.dev; the
 * calls of modules are named ranges in them.
 *
 * The iteration that is recorded is slower, by some µs an operator and a module's call; others are not touched. On a
 * GPU the parts are what the program waits for: backward ends when the losses have been read.
 */
export class AutogradProfiler extends HookBase {
  readonly #options: AutogradProfilerOptions;
  #recording: Recording | undefined;
  #startUp: number | undefined;
  /** The last recording, and the parts of its step. */
  profile: torch.Profile | undefined;
  times: StepTimes | undefined;

  constructor(options: AutogradProfilerOptions) {
    super();
    this.#options = options;
  }

  override beforeStep(): void {
    this.#startUp ??= performance.now();
    const { model, folder, when = ({ iter, startIter }) => iter === startIter + 10 } = this.#options;
    if (!when(this.trainer)) return;
    let trace: string | undefined;
    if (folder !== undefined) {
      mkdirSync(folder, { recursive: true });
      trace = join(folder, `${ofThisRank(`profiler-trace-iter${this.trainer.iter}`)}.json`);
    }
    torch.startProfiler(trace === undefined ? {} : { trace });
    const handles = [torch.nameModules(model)];
    // To begin a recording takes its time, on a GPU most of a second; that is no part of the step.
    const recording: Recording = { begin: performance.now(), handles };
    handles.push(
      model.registerForwardPreHook(() => {
        recording.forwardBegin ??= performance.now();
      }),
      model.registerForwardHook(() => {
        recording.forwardEnd = performance.now();
      }),
    );
    this.#recording = recording;
  }

  override afterBackward(): void {
    if (this.#recording) this.#recording.backwardEnd = performance.now();
  }

  override afterStep(): void {
    const recording = this.#finish();
    if (!recording) return;
    const { rows, report = (text) => logger.info(text) } = this.#options;
    const text = profileReport(this.profile!, this.times, { startUp: this.#startUp, rows });
    report(`Profile of iteration ${this.trainer.iter}:\n${text}`);
  }

  /** A step that fails leaves neither profiler nor hooks behind. */
  override afterTrain(): void {
    this.#finish();
  }

  #finish(): Recording | undefined {
    const recording = this.#recording;
    if (!recording) return undefined;
    this.#recording = undefined;
    const end = performance.now();
    for (const handle of recording.handles) handle.remove();
    this.profile = torch.stopProfiler();
    const { begin, forwardBegin = end, forwardEnd = forwardBegin, backwardEnd = forwardEnd } = recording;
    this.times = {
      data: forwardBegin - begin,
      forward: forwardEnd - forwardBegin,
      backward: backwardEnd - forwardEnd,
      step: end - backwardEnd,
    };
    return recording;
  }
}
