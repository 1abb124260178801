/** The picture of the mesh: peers as shapes, links as lines, each exchange a spark that runs along its link. */

import type { ExchangeNote, LinkRow, MeshPicture as Mesh } from "../runtime/session.ts";
import { KIND_WORDS } from "../runtime/story.ts";
import { field, motionIsReduced, setText, svg } from "./dom.ts";
import { count } from "./format.ts";
import { HEIGHT, type Place, Seats, WIDTH } from "./meshLayout.ts";

type Kind = LinkRow["kind"];
const SPARK_MS = 700;
const SPARKS_MAX = 24;
const WHOLE = `0 0 ${WIDTH} ${HEIGHT}`;
const INNER = `${0.1 * WIDTH} ${0.1 * HEIGHT} ${0.8 * WIDTH} ${0.8 * HEIGHT}`;
const SELF: Place = { x: WIDTH / 2, y: HEIGHT / 2 };

interface Node {
  readonly group: SVGGElement;
  readonly title: SVGTitleElement;
  line: SVGLineElement | null;
  place: Place;
  exchanges: number;
}

export class MeshPicture {
  readonly #seats = new Seats();
  readonly #nodes = new Map<string, Node>();
  readonly #lines = svg("g", { class: "lines" });
  readonly #sparks = svg("g", { class: "sparks" });
  readonly #peers = svg("g", { class: "peers" });
  readonly #self = svg("g", { class: "peer self", transform: `translate(${SELF.x} ${SELF.y})` });
  readonly #words = field("mesh-words");
  readonly #picture = svg("svg", { viewBox: WHOLE, role: "img" });
  #links: readonly LinkRow[] = [];
  #mesh: Mesh = { online: 0, peers: [] };
  #own = "";
  /** What is said while nobody is linked. */
  #nobody = "";

  constructor() {
    this.#self.append(svg("circle", { class: "halo", r: 22 }), shape("browser", 11));
    const label = svg("text", { class: "you", y: 34 });
    label.textContent = "You";
    this.#self.append(label);
    this.#picture.append(this.#lines, this.#sparks, this.#peers, this.#self);
    field("mesh").append(this.#picture);
    this.clear("Waiting for the first peer.");
  }

  /** The links of this peer, once a second. */
  showLinks(links: readonly LinkRow[]): void {
    this.#links = links.filter((link) => link.greeted);
    this.#draw();
  }

  /** Everybody whom the server knows, once in a while. */
  showMesh(mesh: Mesh, own: string): void {
    this.#mesh = mesh;
    this.#own = own;
    this.#draw();
  }

  /** A slice has been averaged. */
  spark(note: ExchangeNote): void {
    const node = this.#nodes.get(note.peer);
    if (!node?.line) {
      return;
    }
    node.exchanges += 1;
    node.group.dataset.exchanges = String(node.exchanges);
    if (document.hidden) {
      return;
    }
    const lit = [
      { opacity: 1, strokeWidth: "3px" },
      { opacity: 0.35, strokeWidth: "1.5px" },
    ];
    node.line.animate(lit, { duration: SPARK_MS, easing: "ease-out" });
    if (motionIsReduced() || this.#sparks.childElementCount >= SPARKS_MAX) {
      return;
    }
    const spark = svg("circle", { r: 4 });
    this.#sparks.append(spark);
    const [from, to] = [node.place, SELF].map(({ x, y }) => `translate(${x}px, ${y}px)`);
    const run = spark.animate([{ transform: from }, { transform: to }], {
      duration: SPARK_MS,
      easing: "ease-in-out",
    });
    run.onfinish = () => spark.remove();
  }

  /** Forget everybody, and say so in these words. */
  clear(words: string): void {
    this.#nobody = words;
    this.#links = [];
    this.#mesh = { online: 0, peers: [] };
    this.#draw();
  }

  #draw(): void {
    const linked = new Map(this.#links.map((link) => [link.peer, link]));
    const others = this.#mesh.peers.filter((row) => row.peer !== this.#own && !linked.has(row.peer));
    const places = this.#seats.place(
      [...linked.keys()],
      others.map((row) => row.peer),
    );
    for (const [peer, node] of this.#nodes) {
      if (!places.has(peer)) {
        node.group.remove();
        node.line?.remove();
        this.#nodes.delete(peer);
      }
    }
    for (const { peer, kind } of [...this.#links, ...others]) {
      const place = places.get(peer);
      if (place) {
        this.#show(peer, kind, place, linked.get(peer) ?? null);
      }
    }
    // with nobody outside, what is left comes nearer
    this.#picture.setAttribute("viewBox", others.length > 0 ? WHOLE : INNER);
    this.#describe(others.length);
  }

  #show(peer: string, kind: Kind, place: Place, link: LinkRow | null): void {
    let node = this.#nodes.get(peer);
    if (node === undefined) {
      const group = svg("g", { class: `peer ${kind}` });
      const title = svg("title");
      group.append(title, shape(kind, 8.5));
      this.#peers.append(group);
      node = { group, title, line: null, place, exchanges: 0 };
      this.#nodes.set(peer, node);
    }
    node.place = place;
    node.group.setAttribute("transform", `translate(${place.x.toFixed(1)} ${place.y.toFixed(1)})`);
    node.group.classList.toggle("linked", link !== null);
    node.group.dataset.peer = peer;
    node.group.dataset.kind = kind;
    const far = link?.roundTripS ? `, ${Math.max(1, Math.round(1000 * link.roundTripS))} ms away` : "";
    setText(node.title, `${KIND_WORDS[kind]} ${peer.slice(0, 6)}${link ? far : ", not linked to you"}`);
    if (link === null) {
      node.line?.remove();
      node.line = null;
    } else {
      if (node.line === null) {
        node.line = svg("line", { x2: SELF.x, y2: SELF.y });
        this.#lines.append(node.line);
      }
      node.line.setAttribute("x1", place.x.toFixed(1));
      node.line.setAttribute("y1", place.y.toFixed(1));
      node.line.classList.toggle("congested", link.congested);
    }
  }

  #describe(others: number): void {
    const kinds = (["browser", "python", "tracker"] as const)
      .map((kind) => [this.#links.filter((link) => link.kind === kind).length, KIND_WORDS[kind]] as const)
      .filter(([number]) => number > 0)
      .map(([number, noun]) => count(number, noun).replace(/processs$/, "processes"));
    const rest = others > 0 ? ` ${count(others, "other peer")} can be reached through them.` : "";
    const words = kinds.length > 0 ? `You are linked to ${listed(kinds)}.${rest}` : this.#nobody;
    setText(this.#words, words);
    this.#picture.setAttribute("aria-label", words);
  }
}

function listed(parts: readonly string[]): string {
  return parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

/** Kinds differ by shape as well as by colour. */
function shape(kind: Kind, size: number): SVGElement {
  switch (kind) {
    case "browser":
      return svg("rect", {
        class: "mark",
        x: -size,
        y: -size,
        width: 2 * size,
        height: 2 * size,
        rx: 0.45 * size,
      });
    case "python":
      return svg("circle", { class: "mark", r: 1.08 * size });
    case "tracker":
      return svg("path", {
        class: "mark",
        d: `M0 ${-1.3 * size}L${1.3 * size} 0 0 ${1.3 * size} ${-1.3 * size} 0z`,
      });
  }
}
