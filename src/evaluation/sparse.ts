/** Sparse rows: the columns and values of row i are at `start[i] … start[i + 1]`. */
export interface SparseRows {
  readonly start: Float64Array;
  readonly columns: Int32Array;
  readonly values: Float32Array;
}

/** Collects sparse rows, one after the other, in arrays that grow. */
export class SparseBuilder {
  readonly #start: Float64Array;
  #columns: Int32Array;
  #values: Float32Array;
  #rows = 0;
  #used = 0;

  /** @param rows how many there will be */
  constructor(rows: number) {
    this.#start = new Float64Array(rows + 1);
    this.#columns = new Int32Array(Math.max(16, rows * 8));
    this.#values = new Float32Array(this.#columns.length);
  }

  push(column: number, value: number): void {
    if (this.#used === this.#columns.length) this.#grow();
    this.#columns[this.#used] = column;
    this.#values[this.#used++] = value;
  }

  endRow(): void {
    this.#start[++this.#rows] = this.#used;
  }

  #grow(): void {
    const size = Math.ceil(this.#used * 1.5);
    const columns = new Int32Array(size);
    const values = new Float32Array(size);
    columns.set(this.#columns);
    values.set(this.#values);
    this.#columns = columns;
    this.#values = values;
  }

  finish(): SparseRows {
    return {
      start: this.#start,
      columns: this.#columns.subarray(0, this.#used),
      values: this.#values.subarray(0, this.#used),
    };
  }
}

/** Rows become columns; within a new row, columns ascend. */
export function transpose({ start, columns, values }: SparseRows, width: number): SparseRows {
  const next = new Float64Array(width + 1);
  for (const c of columns) next[c + 1]++;
  for (let c = 0; c < width; c++) next[c + 1] += next[c];
  const turned = {
    start: next.slice(),
    columns: new Int32Array(columns.length),
    values: new Float32Array(columns.length),
  };
  for (let row = 0; row + 1 < start.length; row++) {
    for (let at = start[row]; at < start[row + 1]; at++) {
      const to = next[columns[at]]++;
      turned.columns[to] = row;
      turned.values[to] = values[at];
    }
  }
  return turned;
}
