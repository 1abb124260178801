/** The session of this page: TabSession with the browser's Worker, WebRTC and WebSocket. */

import { TabSession } from "./node.ts";
import type { CreateSession } from "./session.ts";
import { pageEnvironment } from "./tabEnvironment.ts";

/** A session; it does nothing before start(). */
export const createSession: CreateSession = (options) => new TabSession(options, pageEnvironment());

export { coresMax, findObstacle } from "./tabEnvironment.ts";
