/** How a tab stands, in a sentence for a person. */

import type { SessionStatus } from "./session.ts";

/** `trainedSteps` where the run's step limit is reached; null before that. */
export function sentenceOfStatus(status: SessionStatus, trainedSteps: number | null): string {
  const { state, links, sentence } = status;
  const peers = links === 1 ? "1 peer" : `${links} peers`;
  switch (state) {
    case "joining":
      return "Looking for peers that have the model.";
    case "paused":
      return `Paused; the model is kept up to date with ${peers}.`;
    case "training":
      if (trainedSteps !== null) {
        return `This tab has made its ${trainedSteps} steps; it still averages with ${peers}.`;
      }
      return links === 0 ? "Training alone until peers come." : `Training with ${peers}.`;
    default:
      return sentence;
  }
}
