/**
 * The join link of a run: http(s)://HOST:PORT/r/RUN#TOKEN. The token stands behind the `#`, which no browser sends, so it
 * reaches no log.
 */

import { MeshError } from "../errors.ts";

const FORM = "it looks like https://HOST/r/RUN#TOKEN";
const SHOWN_CHARACTERS_MAX = 60;

/** A parsed link; `baseUrl` has no slash at its end. */
export interface JoinLink {
  readonly baseUrl: string;
  readonly run: string;
  readonly token: string;
}

/** The parts of a link as a person pastes it; raises MeshError with one sentence on what is wrong. */
export function parseJoinLink(link: string): JoinLink {
  const text = link.trim().replace(/^[<'"]+|[>'"]+$/g, "");
  const shown = text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}...` : text;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "") {
    throw new MeshError(`"${shown}" is not a join link; ${FORM}.`);
  }
  const match = /^(.*)\/r\/([a-z2-7]{10})\/*$/.exec(url.pathname);
  if (match === null) {
    throw new MeshError(`"${shown}" names no run; a join link looks like https://HOST/r/RUN#TOKEN.`);
  }
  const token = url.hash.slice(1);
  if (token === "") {
    throw new MeshError("The join link has no token; copy all of it, with the # and what follows.");
  }
  if (!/^[A-Za-z0-9_-]{22}$/.test(token)) {
    throw new MeshError("The token behind the # of the join link is damaged; copy the whole link again.");
  }
  return { baseUrl: `${url.origin}${match[1]}`, run: match[2], token };
}

/** Where the signaling server listens. */
export function websocketUrl(link: JoinLink): string {
  return `${link.baseUrl.replace(/^http/, "ws")}/ws`;
}

/** The run's page, without the token. */
export function pageUrl(link: JoinLink): string {
  return `${link.baseUrl}/r/${link.run}`;
}
