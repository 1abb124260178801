/** What a volunteer reads before anything runs: what is trained and by whom, and what the device will do. */

import { action, field, find, setFigure, setText } from "./dom.ts";
import { bytes, count, duration, loss, percent, shortNumber } from "./format.ts";
import { bytesEachMinute, bytesToFetch, type Costs, type RunSummary } from "./runApi.ts";

const STATE_WORDS = { live: "Live", waiting: "Waiting for peers", over: "Over" } as const;

/** Bring the words that the server wrote into the page up to date. A private run's are not in the page at all. */
export function showSummary(summary: RunSummary): void {
  const state = summary.state === "over" ? "over" : summary.online > 0 ? "live" : "waiting";
  const chip = field("run-state");
  chip.className = `state ${state}`;
  setText(chip, STATE_WORDS[state]);
  setText(field("title"), summary.title);
  setText(field("by"), summary.by === "" ? "" : `by ${summary.by}`);
  document.title = `${summary.title} · meshlearn`;
  const paragraphs = summary.description.split("\n").filter((line) => line.trim() !== "");
  const shown = field("paragraphs");
  if (shown.textContent?.trim() !== paragraphs.join("")) {
    shown.replaceChildren(...paragraphs.map(paragraph));
  }
  setText(field("what"), whatIsTrained(summary));
  if (document.body.dataset.view === "intro" && summary.last !== null) {
    setFigure(field("accuracy"), summary.last.accuracy ?? null, percent(summary.last.accuracy));
    setFigure(field("loss"), summary.last.loss ?? null, loss(summary.last.loss));
  }
}

function whatIsTrained({ parameters, data, online, last }: RunSummary): string {
  const examples = data.examples === null ? "" : ` (${count(data.examples, "example")})`;
  const now =
    online === 0
      ? last === null
        ? "nobody is training yet"
        : "nobody is here right now"
      : `${count(online, "peer")} ${online === 1 ? "is" : "are"} here now`;
  return `A model of ${shortNumber(parameters)} parameters learns from ${data.name}${examples}; ${now}.`;
}

/** What taking part costs, in figures. */
export function showCosts(costs: Costs): void {
  const once = bytes(bytesToFetch(costs));
  const minute = bytes(bytesEachMinute(costs));
  setText(
    field("offer-traffic"),
    `It fetches ${once} once, and then trades small slices of the model with other peers: about ${minute} a minute each way, more while it helps newcomers. You can set a limit.`,
  );
}

/** Nobody can take part any more: nothing is offered, and nobody invited. */
export function withdrawOffers(): void {
  setText(find("#consent-heading"), "No more peers are needed");
  find(".consent").classList.add("over");
  action("start").disabled = true;
  for (const element of [find(".offers"), action("start"), find(".consent .note"), find(".invite")]) {
    element.hidden = true;
  }
}

/** What the device has given, when it is over. */
export function thanks(samples: number, seconds: number): string {
  return samples === 0 ? "" : `Thank you for ${count(samples, "sample")} in ${duration(seconds)}.`;
}

function paragraph(text: string): HTMLParagraphElement {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}
