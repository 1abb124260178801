/** Takes gradient steps on a loaded run while it may: the loop, the step limit, and the Workers that share its batches. */

import type { Team } from "../learning/team.ts";
import type { Step } from "../learning/trainer.ts";
import { CoreChoice } from "./coreChoice.ts";
import { EngineWorkers, type StartEngineWorker } from "./engineWorkers.ts";
import type { LoadedRun } from "./runLoader.ts";
import type { Timing } from "./timing.ts";
import { TrainingLoop } from "./trainingLoop.ts";

export interface TrainingParts {
  readonly timing: Timing;
  /** Call after the messages that wait already. */
  readonly soon: (call: () => void) => void;
  readonly startEngineWorker: StartEngineWorker;
  /** A gradient step was made. */
  readonly stepped: (step: Step) => void;
  /** Some steps were made; messages have their turn next. */
  readonly afterSlice: () => void;
  /** The run's step limit is reached: no more steps. */
  readonly finished: (steps: number) => void;
}

/** What the person at the device has chosen. */
export interface TrainingChoice {
  readonly on: boolean;
  /** Share of the time that is spent in steps, 0..1. */
  readonly dutyCycle: number;
  /** The most cores that may be used, this Worker's among them. */
  readonly cores: number;
}

export class Training {
  readonly #parts: TrainingParts;
  readonly #loop: TrainingLoop;
  readonly #coreChoice = new CoreChoice();
  #loaded: LoadedRun | null = null;
  #workers: EngineWorkers | null = null;
  #choice: TrainingChoice = { on: true, dutyCycle: 1, cores: 1 };
  #isFinished = false;
  #sharedSteps = 0;
  /** Steps and samples that have not been taken note of. */
  #unheard = { steps: 0, samples: 0 };

  constructor(parts: TrainingParts) {
    this.#parts = parts;
    const { timing, soon, afterSlice } = parts;
    this.#loop = new TrainingLoop({ timing, soon, step: () => this.#step(), afterSlice });
  }

  /** How many cores train, and the steps that several have shared. */
  get coresInUse(): { readonly cores: number; readonly sharedSteps: number } {
    const cores = this.#loop.running ? this.#coreChoice.chosen : 0;
    return { cores, sharedSteps: this.#sharedSteps };
  }

  get unheard(): { readonly steps: number; readonly samples: number } {
    return this.#unheard;
  }

  /** The steps and samples since the last call. */
  takeUnheard(): { readonly steps: number; readonly samples: number } {
    const unheard = this.#unheard;
    this.#unheard = { steps: 0, samples: 0 };
    return unheard;
  }

  /** What is to be trained. */
  load(loaded: LoadedRun): void {
    this.#loaded = loaded;
    const { team } = loaded.engine;
    this.#workers = team && new EngineWorkers(team, this.#parts.startEngineWorker);
  }

  choose(choice: TrainingChoice): void {
    this.#choice = choice;
    this.#loop.setDutyCycle(choice.dutyCycle);
  }

  /** Train or rest, as the choice, the step limit and `mayTrain` say. While it rests, there are no further Workers. */
  update(mayTrain: boolean): void {
    const isOn = mayTrain && this.#choice.on && !this.#isFinished;
    this.#workers?.want(isOn ? this.#choice.cores - 1 : 0);
    if (isOn && !this.#loop.running) {
      this.#loop.start();
    } else if (!isOn && this.#loop.running) {
      this.#loop.stop();
    }
  }

  #step(): boolean {
    if (this.#loaded === null) {
      return false;
    }
    const { trainer, rule, run, engine } = this.#loaded;
    const correction = rule.correction ?? undefined;
    const step =
      engine.team === null
        ? trainer.step(correction)
        : this.#shared(engine.team, () => trainer.step(correction));
    this.#unheard.steps += 1;
    this.#unheard.samples += step.examples;
    this.#parts.stepped(step);
    const { stepLimit } = run.settings;
    if (stepLimit !== null && trainer.steps >= stepLimit) {
      this.#isFinished = true;
      this.#workers?.want(0);
      this.#parts.finished(trainer.steps);
      return false;
    }
    return true;
  }

  /** Have as many take part in a step as is fastest. */
  #shared(team: Team, step: () => Step): Step {
    const { now } = this.#parts.timing;
    this.#coreChoice.setMost(team.present);
    team.size = this.#coreChoice.cores;
    const begun = now();
    const made = step();
    this.#sharedSteps += team.size > 1 ? 1 : 0;
    this.#coreChoice.took(now() - begun);
    return made;
  }
}
