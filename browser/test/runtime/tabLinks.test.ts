import { expect, test } from "vitest";
import { type Channel, ChannelClosed, type Transport } from "../../src/runtime/channel.ts";
import { Identity } from "../../src/runtime/identity.ts";
import { TabLinks } from "../../src/runtime/tabLinks.ts";

test("a channel that closes under the farewell does not keep the others from theirs", async () => {
  let opened: (channel: Channel) => void = () => {};
  const ignored = () => {};
  const transport = {
    onOpened: (callback: typeof opened) => {
      opened = callback;
    },
    onFailed: ignored,
    onCandidate: ignored,
  } as unknown as Transport;
  const links = new TabLinks({
    run: "abcdefgh23",
    identity: await Identity.generate(),
    transport,
    say: ignored,
    tell: ignored,
    hindered: ignored,
  });
  const reached: string[] = [];
  for (const remote of ["first", "closing", "last"]) {
    const send = () => {
      if (remote === "closing") {
        throw new ChannelClosed("the link has ended");
      }
      reached.push(remote);
    };
    const hear = { onFrame: ignored, onDrained: ignored, onClosed: ignored };
    opened({ remote, outgoing: true, closed: false, send, ...hear } as unknown as Channel);
  }
  links.farewell(new Uint8Array(8));
  expect(reached).toEqual(["first", "last"]);
});
