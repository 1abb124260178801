import { describe, expect, test } from "vitest";
import {
  awaySentence,
  noModelSentence,
  noPathSentence,
  overSentence,
  sentenceOfStatus,
} from "../../src/runtime/sentences.ts";
import type { SessionState, SessionStatus } from "../../src/runtime/session.ts";

function status(state: SessionState, peers: number, trainedSteps: number | null = null): SessionStatus {
  const rest = { signaling: "online", model: "initial", hidden: false, wakeLock: "off" } as const;
  // the tracker is one more link
  return { state, links: peers + 1, peers, trainedSteps, sentence: "As it was.", ...rest };
}

describe("how a tab stands is one sentence", () => {
  test.each([
    ["joining", 0, null, "Looking for peers that have the model."],
    ["training", 0, null, "Training alone until peers come."],
    ["training", 1, null, "Training with 1 peer."],
    ["training", 2, 40, "This tab has made its 40 steps; it still averages with 2 peers."],
    ["training", 0, 1, "This tab has made its 1 step; there is no peer to average with."],
    ["paused", 2, null, "Paused; still averaging with 2 peers."],
    ["paused", 0, null, "Paused; there is no peer to average with."],
    ["failed", 0, null, "As it was."],
  ] as const)("%s with %i peers", (state, peers, trainedSteps, sentence) => {
    expect(sentenceOfStatus(status(state, peers, trainedSteps), null)).toBe(sentence);
  });

  test("where no way leads to a peer, it says what to do, and no longer once there is a link", () => {
    const hindered = noPathSentence(3);
    expect(sentenceOfStatus(status("joining", 0), hindered)).toBe(
      "This network lets no connection to any of 3 peers through; use another network, or ask whoever runs the server for a TURN server.",
    );
    expect(sentenceOfStatus(status("training", 0), noPathSentence(1))).toBe(
      "Training alone: this network lets no connection to the other peer through; use another network, or ask whoever runs the server for a TURN server.",
    );
    expect(sentenceOfStatus(status("training", 1), hindered)).toBe("Training with 1 peer.");
  });

  test("that the run is over, whatever the owner wrote", () => {
    expect(overSentence("")).toBe("The run is over.");
    expect(overSentence("the goal is reached")).toBe("The run is over: the goal is reached.");
    expect(overSentence("The goal is reached.")).toBe("The run is over: the goal is reached.");
    expect(overSentence("GPU hours are spent")).toBe("The run is over: GPU hours are spent.");
  });
});

describe("without the server, the tab says what goes on", () => {
  test.each([
    ["training", 2, null, "The server is away; training goes on with the peers you are linked to."],
    ["training", 0, null, "The server is away; training goes on, and other peers are found when it is back."],
    ["training", 2, 40, "The server is away; averaging goes on with the peers you are linked to."],
    ["training", 0, 40, "The server is away; other peers are found when it is back."],
    ["paused", 2, null, "The server is away; averaging goes on with the peers you are linked to."],
    ["paused", 0, null, "The server is away; other peers are found when it is back."],
    ["joining", 0, null, "The server is away; other peers are found when it is back."],
    ["stopped", 0, null, ""],
    ["over", 0, null, ""],
  ] as const)("%s with %i peers, after %s steps", (state, peers, trainedSteps, sentence) => {
    expect(awaySentence({ ...status(state, peers, trainedSteps), signaling: "away" })).toBe(sentence);
  });

  test("and nothing while it is there", () => {
    expect(awaySentence(status("training", 2))).toBe("");
  });
});

test("where there is no model to try, the words fit the state", () => {
  expect(noModelSentence("joining")).toBe("The model is not here yet.");
  for (const state of ["over", "stopped", "elsewhere", "failed"] as const) {
    expect(noModelSentence(state)).not.toContain("yet");
  }
});
