import type { Label } from '../data/labels.js';
import type { Ids } from './matches.js';
import { RankAccumulator } from './rank.js';

/** How well images of one camera find those of another. */
export interface CameraPair {
  query: Label;
  gallery: Label;
  /** Queries that have a match there. */
  queries: number;
  /** In [0, 1]. */
  rank1: number;
  mAP: number;
}

/** Ranks each query within the images of each other camera of the gallery on its own. */
export class CameraPairs {
  readonly #gallery = new Map<number, { columns: number[]; pids: number[] }>();
  readonly #pairs = new Map<string, { query: number; gallery: number; ranks: RankAccumulator }>();

  constructor(gPids: Ids, gCamids: Ids) {
    for (let g = 0; g < gPids.length; g++) {
      const camera = gCamids[g];
      if (!this.#gallery.has(camera)) this.#gallery.set(camera, { columns: [], pids: [] });
      const own = this.#gallery.get(camera)!;
      own.columns.push(g);
      own.pids.push(gPids[g]);
    }
  }

  /** @param distances of the query to the whole gallery */
  add(query: number, pid: number, camid: number, distances: Float32Array): void {
    for (const [camera, { columns, pids }] of this.#gallery) {
      if (camera === camid) continue;
      const key = `${camid} ${camera}`;
      let pair = this.#pairs.get(key);
      if (pair === undefined) {
        const cameras = new Array(pids.length).fill(camera);
        pair = { query: camid, gallery: camera, ranks: new RankAccumulator(pids, cameras) };
        this.#pairs.set(key, pair);
      }
      pair.ranks.add(
        query,
        pid,
        camid,
        Float32Array.from(columns, (g) => distances[g]),
      );
    }
  }

  /**
   * Pairs of cameras with any match, by query camera, then by gallery camera.
   *
   * @param name what cameras are called, by their numbers; default: by these
   */
  result(name: (camera: number) => Label = (camera) => camera): CameraPair[] {
    return [...this.#pairs.values()]
      .filter(({ ranks }) => ranks.size > 0)
      .sort((a, b) => a.query - b.query || a.gallery - b.gallery)
      .map(({ query, gallery, ranks }) => {
        const { cmc, mAP, counted } = ranks.result({ maxRank: 1 });
        return {
          query: name(query),
          gallery: name(gallery),
          queries: counted.length,
          rank1: cmc[0],
          mAP,
        };
      });
  }
}
