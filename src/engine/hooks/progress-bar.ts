import cliProgress from 'cli-progress';
import { setLinePrinter } from '../../logger.js';
import { formatDuration } from '../format.js';
import { HookBase } from '../train-loop.js';
import { etaSeconds, lossText } from '../writers/console.js';

/** A live line at the bottom of a terminal: iteration, losses, time left. Messages scroll above it. */
export class ProgressBar extends HookBase {
  private bars: cliProgress.MultiBar | undefined;
  private bar: cliProgress.SingleBar | undefined;

  override beforeTrain(): void {
    this.bars = new cliProgress.MultiBar({
      format: '{bar} {percentage}% | epoch {epoch}/{epochs} iter {value}/{total} | {losses}| eta {left}',
      barsize: 24,
      hideCursor: false,
      clearOnComplete: true,
      stream: process.stdout,
      gracefulExit: false,
    });
    this.bar = this.bars.create(this.trainer.maxIter, this.trainer.iter, this.payload());
    setLinePrinter((line) => this.bars?.log(`${line}\n`));
  }

  override afterStep(): void {
    this.bar?.update(this.trainer.iter + 1, this.payload());
  }

  override afterTrain(): void {
    this.bars?.stop();
    this.bars = undefined;
    setLinePrinter(null);
  }

  private payload(): Record<string, string | number> {
    const { storage, epoch, maxEpoch, maxIter } = this.trainer;
    const eta = etaSeconds(storage, maxIter);
    const losses = lossText(storage, 20);
    return {
      epoch: epoch + 1,
      epochs: maxEpoch,
      losses: losses && `${losses} `,
      left: eta === undefined ? '…' : formatDuration(eta),
    };
  }
}
