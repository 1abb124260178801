/**
 * One tab of a device at a time: by a Web Lock, or where the page has none (it was opened over plain http), by asking the
 * other tabs over a BroadcastChannel.
 */

/** What a tab does to be the one: null where another one is. `lost` comes when another tab takes over. */
export type LockTab = (takeOver: boolean, lost: () => void) => Promise<(() => void) | null>;

const NAME = "meshlearn";
/** How long the tab that is the one has to say so; in the background its answer takes no longer. */
const ANSWER_MS = 300;

/** The way that this page has. */
export const lockTab: LockTab = (takeOver, lost) => {
  const locks: LockManager | undefined = navigator.locks;
  return locks === undefined ? lockByAsking(takeOver, lost) : lockByLock(locks, takeOver, lost);
};

function lockByLock(locks: LockManager, takeOver: boolean, lost: () => void): Promise<(() => void) | null> {
  return new Promise((resolve) => {
    let granted = false;
    let released = false;
    const options = takeOver ? { steal: true } : { ifAvailable: true };
    const held = locks.request(NAME, options, (lock) => {
      if (lock === null) {
        resolve(null);
        return undefined;
      }
      granted = true;
      return new Promise<void>((release) => {
        resolve(() => {
          released = true;
          release();
        });
      });
    });
    held.catch(() => {
      if (!granted) {
        resolve(() => {});
      } else if (!released) {
        lost();
      }
    });
  });
}

type Said = "is anybody there?" | "I am" | "make room";

/** Two tabs that ask at the same moment both go on; the server then keeps the later one, as their key is the same. */
export const lockByAsking: LockTab = async (takeOver, lost) => {
  const channel = new BroadcastChannel(NAME);
  const say = (said: Said) => channel.postMessage(said);
  const isTaken =
    !takeOver &&
    (await new Promise<boolean>((resolve) => {
      channel.onmessage = ({ data }: MessageEvent<Said>) => data === "I am" && resolve(true);
      setTimeout(() => resolve(false), ANSWER_MS);
      say("is anybody there?");
    }));
  if (isTaken) {
    channel.close();
    return null;
  }
  channel.onmessage = ({ data }: MessageEvent<Said>) => {
    if (data === "is anybody there?") {
      say("I am");
    } else if (data === "make room") {
      channel.close();
      lost();
    }
  };
  if (takeOver) {
    say("make room");
  }
  return () => channel.close();
};
