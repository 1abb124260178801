/** Where the peers stand in the picture of the mesh: this one in the middle, its links around it, the others outside. */

export const WIDTH = 640;
export const HEIGHT = 480;
const INNER = { x: 160, y: 132 };
const OUTER = { x: 290, y: 210 };

export interface Place {
  readonly x: number;
  readonly y: number;
}

/**
 * Places for peers on two rings, by id. A peer keeps its direction while it stays on its ring, whoever comes and goes: it is
 * given the free seat farthest from the others.
 */
export class Seats {
  readonly #inner = new Ring(INNER, 16);
  readonly #outer = new Ring(OUTER, 48);

  /** The places of those that are linked to this peer and of the others; whoever is in neither loses the seat. */
  place(linked: readonly string[], others: readonly string[]): ReadonlyMap<string, Place> {
    const places = new Map<string, Place>();
    this.#inner.seat(linked, places);
    this.#outer.seat(others, places);
    return places;
  }
}

class Ring {
  readonly #radius: Place;
  readonly #seats: (string | null)[];

  constructor(radius: Place, seats: number) {
    this.#radius = radius;
    this.#seats = new Array<string | null>(seats).fill(null);
  }

  seat(peers: readonly string[], places: Map<string, Place>): void {
    const wanted = new Set(peers);
    const seated = this.#seats.filter((peer) => peer !== null);
    const gone = new Set(seated.filter((peer) => !wanted.has(peer)));
    // where many leave at once, the others sit down anew, or the gaps would stay
    const isBroken = gone.size > 2 && 4 * gone.size > seated.length;
    for (const [index, peer] of this.#seats.entries()) {
      if (peer !== null && (isBroken || gone.has(peer))) {
        this.#seats[index] = null;
      }
    }
    for (const peer of peers) {
      const index = this.#seatOf(peer);
      if (index >= 0) {
        const angle = (2 * Math.PI * index) / this.#seats.length - 0.35;
        places.set(peer, {
          x: WIDTH / 2 + this.#radius.x * Math.cos(angle),
          y: HEIGHT / 2 + this.#radius.y * Math.sin(angle),
        });
      }
    }
  }

  #seatOf(peer: string): number {
    const own = this.#seats.indexOf(peer);
    if (own >= 0) {
      return own;
    }
    const start = this.#emptiest(peer);
    if (start >= 0) {
      this.#seats[start] = peer;
    }
    return start;
  }

  /** The free seat farthest from everybody; among equals the one that the id decides. */
  #emptiest(peer: string): number {
    const count = this.#seats.length;
    const first = hash(peer) % count;
    let [best, bestGap] = [-1, -1];
    for (let step = 0; step < count; step++) {
      const index = (first + step) % count;
      const gap = this.#seats[index] === null ? this.#gap(index) : -1;
      if (gap > bestGap) {
        [best, bestGap] = [index, gap];
      }
    }
    return best;
  }

  #gap(index: number): number {
    const count = this.#seats.length;
    for (let gap = 1; gap <= count / 2; gap++) {
      if (
        this.#seats[(index + gap) % count] !== null ||
        this.#seats[(index - gap + count) % count] !== null
      ) {
        return gap;
      }
    }
    return count;
  }
}

function hash(text: string): number {
  let state = 2166136261; // FNV-1a
  for (let index = 0; index < text.length; index++) {
    state = Math.imul(state ^ text.charCodeAt(index), 16777619);
  }
  return state >>> 0;
}
