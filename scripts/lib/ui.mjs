// What the set-up prints: numbered steps, one progress line, and errors that end with the way out.

/** A failure the user can mend. Printed as title, what was tried, what was found, and the commands. */
export class SetupError extends Error {
  /**
   * @param {string} title one line naming what is wrong
   * @param {{tried?: string[], found?: string[], fix?: string[], output?: string}} [details]
   */
  constructor(title, { tried = [], found = [], fix = [], output = '' } = {}) {
    super(title);
    this.name = 'SetupError';
    Object.assign(this, { tried, found, fix, output });
  }

  /** The whole message, ready to print. */
  format() {
    const block = (name, lines) => (lines.length ? ['', name, ...lines.map((line) => `  ${line}`)] : []);
    return [
      `error: ${this.message}`,
      ...(this.output ? ['', this.output.trimEnd()] : []),
      ...block('Tried:', this.tried),
      ...block('Found:', this.found),
      ...block(this.fix.length > 1 ? 'Mend it with:' : 'Mend it with', this.fix),
    ].join('\n');
  }
}

/** Joins several SetupErrors, so that a newcomer mends everything in one go. */
export function joinErrors(errors) {
  if (errors.length === 1) return errors[0];
  return new SetupError(`${errors.length} things are missing`, {
    output: errors.map((error) => error.format().replace(/^error: /, '- ')).join('\n\n'),
  });
}

/** Prints numbered steps; inside a step one line shows the progress. */
export class Steps {
  #total;
  #now = 0;
  #stream;
  #title = '';
  #started = 0;
  #lastPlain = 0;

  /** @param {number} total how many steps there are
   *  @param {{isTTY?: boolean, columns?: number, write(text: string): unknown}} [stream] */
  constructor(total, stream = process.stdout) {
    this.#total = total;
    this.#stream = stream;
  }

  get #live() {
    return Boolean(this.#stream.isTTY) && !process.env.CI;
  }

  begin(title) {
    this.#now += 1;
    this.#title = `[${this.#now}/${this.#total}] ${title}`;
    this.#started = this.#lastPlain = Date.now();
    if (this.#live) this.#stream.write(this.#title);
  }

  /** Shows where the step is. On a terminal the line is rewritten; elsewhere it is printed every 20 s. */
  progress(text) {
    if (this.#live) {
      const line = `${this.#title} ${text}`.slice(0, (this.#stream.columns ?? 100) - 1);
      this.#stream.write(`\r\x1b[2K${line}`);
    } else if (Date.now() - this.#lastPlain > 20_000) {
      this.#lastPlain = Date.now();
      this.#stream.write(`${this.#title} ${text}\n`);
    }
  }

  /** Says on a line of its own what is about to take a while, or what was noticed. */
  note(text) {
    if (this.#live) this.#stream.write(`\r\x1b[2K${this.#title}\n      ${text}\n`);
    else this.#stream.write(`      ${text}\n`);
  }

  end(text) {
    const seconds = (Date.now() - this.#started) / 1000;
    const time = seconds >= 1 ? ` (${seconds.toFixed(0)} s)` : '';
    this.#stream.write(`${this.#live ? '\r\x1b[2K' : ''}${this.#title} ${text}${time}\n`);
  }

  /** Ends the line of a step that failed, so that the error starts on a fresh one. */
  fail() {
    if (this.#live) this.#stream.write('\r\x1b[2K');
    if (this.#title) this.#stream.write(`${this.#title} failed\n`);
  }
}
