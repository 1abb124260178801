/** How a tab stands, in a sentence for a person. */

import type { SessionStatus } from "./session.ts";

/** What the status does not say by itself. */
export interface Circumstances {
  /** Where the run's step limit is reached, how many that were; null before that. */
  readonly trainedSteps: number | null;
  /** What keeps this device from other peers, and what to do about it; null for nothing. */
  readonly obstacle: string | null;
}

/** Why a device that knows `unreached` peers has a link to none of them. */
export function noPathSentence(unreached: number): string {
  const whom = unreached === 1 ? "the other peer" : `any of ${unreached} peers`;
  return `This network lets no connection to ${whom} through; use another network, or ask whoever runs the server for a TURN server.`;
}

export function sentenceOfStatus(status: SessionStatus, { trainedSteps, obstacle }: Circumstances): string {
  const { state, links, sentence } = status;
  const peers = links === 1 ? "1 peer" : `${links} peers`;
  switch (state) {
    case "joining":
      return obstacle ?? "Looking for peers that have the model.";
    case "paused":
      return `Paused; the model is kept up to date with ${peers}.`;
    case "training":
      if (trainedSteps !== null) {
        return `This tab has made its ${trainedSteps} steps; it still averages with ${peers}.`;
      }
      return links > 0 ? `Training with ${peers}.` : alone(obstacle);
    default:
      return sentence;
  }
}

/** `reason` is the owner's, a clause or a sentence; it may be empty. */
export function overSentence(reason: string): string {
  return reason === "" ? "The run is over." : `The run is over: ${reason.replace(/\.$/, "")}.`;
}

function alone(obstacle: string | null): string {
  return obstacle === null
    ? "Training alone until peers come."
    : `Training alone: ${uncapitalised(obstacle)}`;
}

function uncapitalised(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
