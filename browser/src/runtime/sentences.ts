/** How a tab stands, in sentences for a person. */

import type { SessionState, SessionStatus } from "./session.ts";

/** States in which nothing goes on. */
export const ENDED: ReadonlySet<SessionState> = new Set(["over", "stopped", "elsewhere", "failed"]);

/** Why a device that knows `unreached` peers has a link to none of them. */
export function noPathSentence(unreached: number): string {
  const whom = unreached === 1 ? "the other peer" : `any of ${unreached} peers`;
  return `This network lets no connection to ${whom} through; use another network, or ask whoever runs the server for a TURN server.`;
}

/** `obstacle` is what keeps this device from other peers, and what to do about it; null for nothing. */
export function sentenceOfStatus(status: SessionStatus, obstacle: string | null): string {
  const { state, peers: companions, trainedSteps, sentence } = status;
  const peers = counted(companions, "peer");
  switch (state) {
    case "joining":
      return obstacle ?? "Looking for peers that have the model.";
    case "paused":
      return companions > 0
        ? `Paused; still averaging with ${peers}.`
        : "Paused; there is no peer to average with.";
    case "training":
      if (trainedSteps !== null) {
        const made = `This tab has made its ${counted(trainedSteps, "step")}`;
        return companions > 0
          ? `${made}; it still averages with ${peers}.`
          : `${made}; there is no peer to average with.`;
      }
      return companions > 0 ? `Training with ${peers}.` : alone(obstacle);
    default:
      return sentence;
  }
}

/** What goes on without the server; empty while it is there, or where nothing goes on. */
export function awaySentence({ state, signaling, peers, trainedSteps }: SessionStatus): string {
  if (signaling !== "away" || ENDED.has(state)) {
    return "";
  }
  const isTraining = state === "training" && trainedSteps === null;
  if (peers > 0 && (state === "training" || state === "paused")) {
    return `The server is away; ${isTraining ? "training" : "averaging"} goes on with the peers you are linked to.`;
  }
  const goesOn = isTraining ? "training goes on, and " : "";
  return `The server is away; ${goesOn}other peers are found when it is back.`;
}

/** `reason` is the owner's, a clause or a sentence; it may be empty. */
export function overSentence(reason: string): string {
  return reason === "" ? "The run is over." : `The run is over: ${uncapitalised(reason.replace(/\.$/, ""))}.`;
}

/** Why there is no model to try. */
export function noModelSentence(state: SessionState): string {
  switch (state) {
    case "over":
      return "The run is over, and this tab has no model of it.";
    case "elsewhere":
      return "The model is in the other tab.";
    case "stopped":
    case "failed":
      return "There is no model here; start again to try it.";
    default:
      return "The model is not here yet.";
  }
}

function alone(obstacle: string | null): string {
  return obstacle === null
    ? "Training alone until peers come."
    : `Training alone: ${uncapitalised(obstacle)}`;
}

/** For the middle of a sentence; a word like "GPU" stays as it is. */
function uncapitalised(sentence: string): string {
  return /^\p{Lu}(?!\p{Lu})/u.test(sentence)
    ? sentence.charAt(0).toLowerCase() + sentence.slice(1)
    : sentence;
}

function counted(number: number, noun: string): string {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`;
}
