import { describe, expect, test } from "vitest";
import { noPathSentence, overSentence, sentenceOfStatus } from "../../src/runtime/sentences.ts";
import type { SessionState, SessionStatus } from "../../src/runtime/session.ts";

function status(state: SessionState, links: number): SessionStatus {
  const rest = { signaling: "online", model: "initial", hidden: false, wakeLock: "off" } as const;
  return { state, links, sentence: "As it was.", ...rest };
}

const clear = { trainedSteps: null, obstacle: null };

describe("how a tab stands is one sentence", () => {
  test.each([
    ["joining", 0, clear, "Looking for peers that have the model."],
    ["training", 0, clear, "Training alone until peers come."],
    ["training", 1, clear, "Training with 1 peer."],
    [
      "training",
      2,
      { ...clear, trainedSteps: 40 },
      "This tab has made its 40 steps; it still averages with 2 peers.",
    ],
    ["paused", 2, clear, "Paused; the model is kept up to date with 2 peers."],
    ["failed", 0, clear, "As it was."],
  ] as const)("%s with %i links", (state, links, circumstances, sentence) => {
    expect(sentenceOfStatus(status(state, links), circumstances)).toBe(sentence);
  });

  test("where no way leads to a peer, it says what to do, and no longer once there is a link", () => {
    const hindered = { ...clear, obstacle: noPathSentence(3) };
    expect(sentenceOfStatus(status("joining", 0), hindered)).toBe(
      "This network lets no connection to any of 3 peers through; use another network, or ask whoever runs the server for a TURN server.",
    );
    expect(sentenceOfStatus(status("training", 0), { ...clear, obstacle: noPathSentence(1) })).toBe(
      "Training alone: this network lets no connection to the other peer through; use another network, or ask whoever runs the server for a TURN server.",
    );
    expect(sentenceOfStatus(status("training", 1), hindered)).toBe("Training with 1 peer.");
  });

  test("that the run is over, whatever the owner wrote", () => {
    expect(overSentence("")).toBe("The run is over.");
    expect(overSentence("the goal is reached")).toBe("The run is over: the goal is reached.");
    expect(overSentence("The goal is reached.")).toBe("The run is over: The goal is reached.");
  });
});
