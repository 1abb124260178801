/** What happens to a tab's links and to its server, for the page's log: two lines at most for each look at the links. */

import type { LinkRow, Notice, SignalingState } from "./session.ts";

type Link = Pick<LinkRow, "peer" | "kind">;

export const KIND_WORDS: Readonly<Record<LinkRow["kind"], string>> = {
  python: "Python process",
  browser: "browser tab",
  tracker: "tracker",
};

export class Story {
  readonly #tell: (news: Omit<Notice, "timeS">) => void;
  #links: ReadonlyMap<string, Link> = new Map();
  #isAway = false;

  constructor(tell: (news: Omit<Notice, "timeS">) => void) {
    this.#tell = tell;
  }

  /** The links that are open and greeted now. */
  links(links: readonly Link[]): void {
    const now = new Map(links.map((link) => [link.peer, link]));
    this.#say("A link is open to", missing(now, this.#links));
    this.#say("The link is gone to", missing(this.#links, now));
    this.#links = now;
  }

  /** How the tab stands with the server. */
  signaling(state: SignalingState): void {
    if (state === "away" && !this.#isAway) {
      this.#isAway = true;
      this.#tell({ level: "warning", sentence: "The server is away.", peer: null });
    } else if (state === "online" && this.#isAway) {
      this.#isAway = false;
      this.#tell({ level: "info", sentence: "The server is back.", peer: null });
    }
  }

  #say(begin: string, links: readonly Link[]): void {
    if (links.length > 0) {
      const [{ peer, kind }] = links;
      const one = `the ${KIND_WORDS[kind]} ${peer.slice(0, 6)}`;
      const whom = links.length === 1 ? one : `${links.length} peers at once`;
      this.#tell({ level: "info", sentence: `${begin} ${whom}.`, peer: links.length === 1 ? peer : null });
    }
  }
}

/** Those of `all` that `others` lacks. */
function missing(all: ReadonlyMap<string, Link>, others: ReadonlyMap<string, Link>): Link[] {
  return [...all.values()].filter(({ peer }) => !others.has(peer));
}
