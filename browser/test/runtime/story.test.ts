import { expect, test } from "vitest";
import { Story } from "../../src/runtime/story.ts";

test("the log has a line for a link that comes or goes, and one for many at once", () => {
  const said: string[] = [];
  const story = new Story(({ sentence }) => said.push(sentence));
  const row = (peer: string) => ({ peer, kind: "python" }) as const;
  const tracker = { peer: "followsAll", kind: "tracker" } as const;
  story.links([row("firstPeer")]);
  story.links([row("firstPeer")]);
  story.links([row("firstPeer"), tracker]);
  story.links(Array.from({ length: 9 }, (_, number) => row(`peer${number}`)));
  expect(said).toEqual([
    "A link is open to the Python process firstP.",
    "A link is open to the tracker follow.",
    "A link is open to 9 peers at once.",
    "The link is gone to 2 peers at once.",
  ]);
});

test("the server's going and coming are told once each, and its first answer not at all", () => {
  const said: string[] = [];
  const story = new Story(({ sentence }) => said.push(sentence));
  for (const state of ["connecting", "online", "away", "connecting", "away", "online", "online"] as const) {
    story.signaling(state);
  }
  expect(said).toEqual(["The server is away.", "The server is back."]);
});
