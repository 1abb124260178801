/** The page of a run: reads the link, says what taking part means, and trains once the person has pressed start. */

import { createSession, findObstacle } from "../runtime/createSession.ts";
import { overSentence } from "../runtime/sentences.ts";
import type { Session } from "../runtime/session.ts";
import { Dashboard } from "./dashboard.ts";
import { Device } from "./device.ts";
import { action, field, find, setText } from "./dom.ts";
import { showCosts, showSummary, withdrawOffers } from "./intro.ts";
import { showInvitation } from "./invite.ts";
import { RunApi } from "./runApi.ts";
import { followTheme } from "./theme.ts";
import "./style.css";

const SUMMARY_EVERY_MS = 3_000;
const SUMMARY_EVERY_MS_MAX = 60_000;

const run = /\/r\/([a-z2-7]{10})\/*$/.exec(location.pathname)?.[1] ?? "";
const token = /^#([A-Za-z0-9_-]{22})$/.exec(location.hash)?.[1] ?? "";
const link = run !== "" && token !== "" ? `${location.origin}/r/${run}#${token}` : null;
const NO_KEY =
  "This address lacks the key of the run. Ask whoever sent it to you for the whole link, with everything after the #.";

const device = new Device();
const session: Session = createSession({ link: location.href, ...device.choices, slowWhenHidden: true });
const dashboard = new Dashboard(session, token, device);
device.control(session);
followTheme(() => dashboard.recolour());
showInvitation(link);
addEventListener("hashchange", () => location.reload());
const obstacle = link === null ? NO_KEY : findObstacle();
showObstacle(obstacle);

const start = action("start");
start.disabled = obstacle !== null;
start.addEventListener("click", () => {
  document.body.dataset.view = "training";
  dashboard.begin();
  action("stop").focus({ preventScroll: true });
  scrollTo({ top: 0 });
  void session.start();
});
action("again").addEventListener("click", () => {
  void session.start({ takeOver: session.status.state === "elsewhere" });
});
for (const input of document.querySelectorAll<HTMLInputElement>('[name="window"]')) {
  input.addEventListener("change", () =>
    dashboard.charts.showSinceJoined(input.value === "mine" && input.checked),
  );
}
if (field("run-state").classList.contains("over")) {
  showOver(""); // as the server wrote it; the reason comes with the summary
}
void watchRun();

/** Ask the server again and again what the run is like: gently, and not while the page is hidden. */
async function watchRun(): Promise<void> {
  const api = new RunApi(run, token);
  let [tag, pause, hasCosts] = ["", SUMMARY_EVERY_MS, false];
  for (;;) {
    if (!document.hidden) {
      try {
        const summary = await api.summary();
        showSummary(summary);
        dashboard.charts.goal = summary.goal_accuracy;
        if (summary.state === "over") {
          showOver(summary.reason);
        }
        if (!hasCosts) {
          showCosts(await api.costs());
          hasCosts = true;
        }
        if (summary.history_tag !== tag) {
          dashboard.showHistory(await api.history());
          tag = summary.history_tag;
        }
        pause = SUMMARY_EVERY_MS;
      } catch {
        pause = Math.min(SUMMARY_EVERY_MS_MAX, 2 * pause); // the session tells of a server that is away
      }
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

function showOver(reason: string): void {
  withdrawOffers();
  showObstacle(overSentence(reason));
}

function showObstacle(sentence: string | null): void {
  const element = field("obstacle");
  element.hidden = sentence === null;
  setText(element, sentence ?? "");
  find(".consent").classList.toggle("blocked", sentence !== null);
}
