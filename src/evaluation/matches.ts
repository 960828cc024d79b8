/** Identities or cameras, one for each image. */
export type Ids = ArrayLike<number>;

/** What of the gallery has a query's identity. */
export interface Match {
  /** Gallery numbers, ascending, of the identity's images from other cameras. */
  readonly hits: readonly number[];
  /** Those from the query's own camera, which do not count. */
  readonly removed: readonly number[];
}

/** Finds the gallery images of an identity. */
export class Matches {
  readonly size: number;
  readonly #byPid = new Map<number, number[]>();
  readonly #camids: Ids;

  constructor(gPids: Ids, gCamids: Ids) {
    if (gPids.length !== gCamids.length) {
      throw new Error(`rank: ${gPids.length} gallery identities but ${gCamids.length} gallery cameras`);
    }
    this.size = gPids.length;
    this.#camids = gCamids;
    for (let i = 0; i < gPids.length; i++) {
      const list = this.#byPid.get(gPids[i]);
      if (list) list.push(i);
      else this.#byPid.set(gPids[i], [i]);
    }
  }

  of(pid: number, camid: number): Match {
    const hits: number[] = [];
    const removed: number[] = [];
    for (const g of this.#byPid.get(pid) ?? []) (this.#camids[g] === camid ? removed : hits).push(g);
    return { hits, removed };
  }
}
