/** Shows what a session says: status, figures, curves, the mesh, the log. */

import { awaySentence, ENDED, noModelSentence } from "../runtime/sentences.ts";
import type {
  Evaluation,
  LoadingProgress,
  MeshPicture as Mesh,
  Notice,
  RunFacts,
  Session,
  SessionCounters,
  SessionState,
  SessionStatus,
} from "../runtime/session.ts";
import { Charts } from "./charts.ts";
import { RunClock } from "./clock.ts";
import type { Device } from "./device.ts";
import { action, field, find, setFigure, setText } from "./dom.ts";
import { Evaluator, type Measured } from "./evaluator.ts";
import { bytes, bytesPerSecond, count, duration, loss, percent, shortNumber } from "./format.ts";
import { thanks } from "./intro.ts";
import { MeshPicture } from "./meshPicture.ts";
import { TryModel } from "./tryModel.ts";

const MESH_EVERY_MS = 3_000;
const LOG_LINES_MAX = 40;
const HISTORY_LONG_S = 300;
const PARTS: Readonly<Record<LoadingProgress["part"], string>> = {
  manifest: "what the run is",
  initial: "the model",
  data: "the examples",
  engine: "the engine",
};

/** Note the first time in the browser's performance timeline, where its developer tools and the benchmarks read it. */
function reached(milestone: string): void {
  if (performance.getEntriesByName(milestone).length === 0) {
    performance.mark(milestone);
  }
}

export class Dashboard {
  readonly charts = new Charts();
  readonly #session: Session;
  readonly #token: string;
  readonly #device: Device;
  readonly #clock = new RunClock();
  readonly #mesh = new MeshPicture();
  readonly #try: TryModel;
  readonly #progress = find<HTMLProgressElement>(".loading");
  #evaluator: Evaluator | null = null;
  /** The session that has its evaluator, or waits for it: an object of its own for each; null where none does. */
  #measured: object | null = null;
  #lastState: SessionState = "idle";
  #hasHistory = false;
  #lastRunS = 0;

  constructor(session: Session, token: string, device: Device) {
    this.#session = session;
    this.#token = token;
    this.#device = device;
    this.#try = new TryModel({
      predict: (input) => this.#predict(input),
      absence: () => noModelSentence(session.status.state),
      example: async () => (await this.#evaluator?.example()) ?? null,
    });
    session.on("status", (status) => this.#showStatus(status));
    session.on("facts", (facts) => {
      this.#try.fit(facts);
      device.fit(facts);
    });
    session.on("progress", (progress) => this.#showProgress(progress));
    session.on("counters", (counters) => this.#showCounters(counters));
    session.on("links", (links) => this.#mesh.showLinks(links));
    session.on("mesh", (mesh) => this.#showMesh(mesh));
    session.on("exchange", (note) => {
      reached("first exchange");
      this.#mesh.spark(note);
    });
    session.on("loss", (point) => {
      reached("first batch");
      this.#clock.read(point.timeS, performance.now() / 1000);
      this.charts.push("batch", this.#clock.now, point.accuracy, point.loss);
      this.#try.modelChanged();
    });
    session.on("evaluation", (evaluation) => this.#showEvaluation(evaluation));
    session.on("notice", (notice) => this.#log(notice));
    setInterval(() => {
      if (document.body.dataset.view === "training" && !document.hidden && !ENDED.has(session.status.state)) {
        session.askForMesh();
      }
    }, MESH_EVERY_MS);
    action("pause").addEventListener("click", () => {
      if (session.status.state === "paused") {
        session.resume();
      } else {
        session.pause();
      }
    });
    action("stop").addEventListener("click", () => void session.stop());
    action("download").addEventListener("click", () => void this.#download());
  }

  /** The curve so far, before or after joining. */
  showHistory(history: readonly Evaluation[]): void {
    const fresh = history.filter(({ timeS }) => timeS > this.#lastRunS || !this.#hasHistory);
    this.#hasHistory ||= fresh.length > 0;
    for (const { timeS, accuracy, loss: nats } of fresh) {
      this.charts.push("run", timeS, accuracy, nats);
      this.#lastRunS = timeS;
    }
    this.#clock.assume(this.#lastRunS);
  }

  /** The person has pressed start. */
  begin(): void {
    this.charts.joinedAt = this.#clock.now;
    if (this.#lastRunS > HISTORY_LONG_S) {
      find<HTMLInputElement>('[name="window"][value="mine"]').click();
    }
  }

  recolour(): void {
    this.charts.recolour();
    this.#try.recolour();
  }

  #showStatus(status: SessionStatus): void {
    const { state } = status;
    const focused = document.activeElement; // before its button goes: the browser then forgets it
    document.body.dataset.state = state;
    if (status.links > 0) {
      reached("first link");
    }
    const words = state === "stopped" || state === "over" ? this.#thanks() : "";
    setText(field("sentence"), words === "" ? status.sentence : `${status.sentence} ${words}`);
    setText(field("away"), awaySentence(status));
    const pause = action("pause");
    setText(pause, state === "paused" ? "Resume" : "Pause");
    pause.hidden = state !== "training" && state !== "paused";
    action("stop").hidden = ENDED.has(state);
    const again = action("again");
    again.hidden = !ENDED.has(state) || state === "over";
    setText(
      again,
      state === "elsewhere" ? "Train here instead" : state === "failed" ? "Try again" : "Start again",
    );
    keepFocus(focused);
    action("download").disabled = status.model === null;
    this.#device.showWakeLock(status.wakeLock);
    this.#progress.hidden = state !== "loading" && state !== "joining";
    if (state === "joining") {
      this.#progress.removeAttribute("value"); // how long it takes depends on others
    }
    if (state !== this.#lastState) {
      this.#lastState = state;
      this.#turned(state);
    }
  }

  /** What is measured by the second is nothing any more. */
  #showRest(): void {
    setFigure(field("rate"), 0, "0");
    setFigure(field("links"), 0, "0");
    setText(field("online"), "open");
    setText(field("rate-in"), bytesPerSecond(0));
    setText(field("rate-out"), bytesPerSecond(0));
  }

  #turned(state: SessionState): void {
    if (state === "loading") {
      this.#clock.restart();
      this.#closeEvaluator();
      this.#mesh.clear("Waiting for the first peer.");
    }
    if (state === "training" && this.#measured === null) {
      void this.#openEvaluator();
      this.#session.askForMesh();
    }
    if (ENDED.has(state)) {
      this.#mesh.clear(state === "over" ? "The run is over; no link is left." : "Stopped; no link is left.");
      this.#showRest();
      void this.#settle();
    }
  }

  /** What has ended can still be tried, where its model was kept. */
  async #settle(): Promise<void> {
    const evaluator = this.#evaluator;
    const model = await this.#session.exportModel();
    if (evaluator === null || evaluator !== this.#evaluator) {
      return;
    }
    if (model === null) {
      this.#closeEvaluator();
    } else {
      await evaluator.rest(model);
    }
    this.#try.modelChanged();
  }

  async #predict(input: Float32Array): Promise<Float32Array | null> {
    if (!ENDED.has(this.#session.status.state)) {
      return this.#session.predict(input);
    }
    return (await this.#evaluator?.predict(input)) ?? null;
  }

  async #openEvaluator(): Promise<void> {
    const facts = this.#session.facts;
    if (facts === null) {
      return;
    }
    const session = {};
    this.#measured = session;
    const opened = await Evaluator.open(
      facts,
      this.#token,
      () => this.#session.exportModel(),
      (measured) => this.#showMeasured(measured),
    );
    if (session !== this.#measured) {
      opened?.stop(); // another session has begun meanwhile
      return;
    }
    this.#evaluator = opened;
    action("example").disabled = opened === null;
    if (ENDED.has(this.#session.status.state)) {
      await this.#settle();
    }
  }

  #closeEvaluator(): void {
    this.#measured = null;
    this.#evaluator?.stop();
    this.#evaluator = null;
    action("example").disabled = true;
  }

  #showProgress({ part, bytes: done, bytesTotal, cached }: LoadingProgress): void {
    this.#progress.max = Math.max(1, bytesTotal);
    this.#progress.value = done;
    const from = cached ? ", kept from the last visit" : "";
    const size = bytesTotal > 0 ? `: ${bytes(done)} of ${bytes(bytesTotal)}${from}` : "";
    setText(field("sentence"), `Fetching ${PARTS[part]}${size}.`);
  }

  #showCounters(counters: SessionCounters): void {
    this.#clock.read(counters.timeS, performance.now() / 1000);
    this.#device.showCores(counters);
    setFigure(field("rate"), counters.samplesPerSecond, shortNumber(counters.samplesPerSecond));
    setFigure(field("samples"), counters.samples, shortNumber(counters.samples));
    field("samples").dataset.steps = String(counters.steps);
    setFigure(field("links"), counters.links, String(counters.links));
    setFigure(field("exchanges"), counters.exchangesAccepted, shortNumber(counters.exchangesAccepted));
    const { exchangesRetried: retried, exchangesRefused: refused } = counters;
    const aside = [
      retried > 0 ? `${shortNumber(retried)} retried` : "",
      refused > 0 ? `${shortNumber(refused)} refused` : "",
    ];
    setText(field("outcomes"), aside.filter(Boolean).join(", ") || "slices averaged");
    field("outcomes").dataset.retried = String(retried);
    field("outcomes").dataset.refused = String(refused);
    setFigure(field("bytes-in"), counters.bytesIn, bytes(counters.bytesIn));
    setFigure(field("bytes-out"), counters.bytesOut, bytes(counters.bytesOut));
    setText(field("rate-in"), bytesPerSecond(counters.bytesInPerSecond));
    setText(field("rate-out"), bytesPerSecond(counters.bytesOutPerSecond));
  }

  #showMesh(mesh: Mesh): void {
    this.#mesh.showMesh(mesh, this.#session.peer ?? "");
    setText(field("online"), `open, ${mesh.online.toLocaleString("en")} online`);
    const all = mesh.peers.reduce((sum, row) => sum + (row.samples ?? 0), 0);
    const own = Number(field("samples").dataset.value ?? 0);
    if (all > 0) {
      setText(field("share"), `samples, ${percent(own / Math.max(all, own))} of all`);
    }
  }

  #showEvaluation({ timeS, accuracy, loss: nats }: Evaluation): void {
    const moved = this.#clock.tie(timeS);
    if (moved !== 0) {
      this.charts.shiftOwn(moved);
    }
    this.#hasHistory = true;
    this.#lastRunS = Math.max(timeS, this.#lastRunS);
    this.charts.push("run", timeS, accuracy, nats);
    field("accuracy").dataset.run = String(accuracy);
  }

  #showMeasured({ accuracy, loss: nats }: Measured): void {
    this.charts.push("own", this.#clock.now, accuracy, nats);
    setFigure(field("accuracy"), accuracy, percent(accuracy));
    setFigure(field("loss"), nats, loss(nats));
  }

  #log(notice: Notice): void {
    const line = document.createElement("li");
    line.className = notice.level;
    line.textContent = `${duration(notice.timeS)}: ${notice.sentence}`;
    const log = field("log");
    log.prepend(line);
    while (log.childElementCount > LOG_LINES_MAX) {
      log.lastElementChild?.remove();
    }
  }

  #thanks(): string {
    const counters = this.#session.counters;
    return counters === null ? "" : thanks(counters.samples, counters.timeS);
  }

  async #download(): Promise<void> {
    const model = await this.#session.exportModel();
    const facts: RunFacts | null = this.#session.facts;
    if (model === null || facts === null) {
      return;
    }
    const address = URL.createObjectURL(
      new Blob([model as Uint8Array<ArrayBuffer>], { type: "application/octet-stream" }),
    );
    const link = document.createElement("a");
    link.href = address;
    link.download = `${facts.run}-${count(this.#session.counters?.age ?? 0, "step").replace(/\D/g, "")}.safetensors`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}

/** The focus stays among the buttons when the one that has it goes away. */
function keepFocus(focused: Element | null): void {
  if (focused instanceof HTMLButtonElement && focused.hidden) {
    const next = [action("stop"), action("again")].find((button) => !button.hidden);
    next?.focus({ preventScroll: true });
  }
}
