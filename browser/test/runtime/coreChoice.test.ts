import { describe, expect, test } from "vitest";
import { CoreChoice } from "../../src/runtime/coreChoice.ts";

/** Steps of a device on which `seconds` says how long a step takes with so many cores; how many made each. */
function used(choice: CoreChoice, steps: number, seconds: (cores: number, step: number) => number): number[] {
  return Array.from({ length: steps }, (_, step) => {
    const { cores } = choice;
    choice.took(seconds(cores, step));
    return cores;
  });
}

/** The choice after a trial. */
function settled(most: number, seconds: (cores: number, step: number) => number): number {
  const choice = new CoreChoice();
  choice.setMost(most);
  used(choice, 5000, seconds);
  return choice.chosen;
}

describe("how many cores train", () => {
  test("one where one is allowed, without a trial", () => {
    const choice = new CoreChoice();
    expect(new Set(used(choice, 100, () => 0.001))).toEqual(new Set([1]));
    choice.setMost(1);
    expect(new Set(used(choice, 100, () => 0.001))).toEqual(new Set([1]));
  });

  test("as many as are fastest", () => {
    expect(settled(4, (cores) => 0.002 / cores)).toBe(4);
    expect(settled(7, (cores) => 0.002 / cores)).toBe(7);
    expect(settled(2, (cores) => 0.002 / cores)).toBe(2);
    expect(settled(8, (cores) => 0.002 / Math.min(cores, 2))).toBe(2);
    expect(settled(8, (cores) => 0.002 / cores + 0.0005 * (cores - 1))).toBe(2);
  });

  test("one where more are not faster by a fifth: they cost current and warmth", () => {
    expect(settled(2, () => 0.002)).toBe(1);
    expect(settled(2, (cores) => (cores === 1 ? 0.002 : 0.0018))).toBe(1);
    expect(settled(2, (cores) => (cores === 1 ? 0.002 : 0.0016))).toBe(2);
    expect(settled(4, (cores) => 0.001 * cores)).toBe(1);
  });

  test("a step that took very long now and then does not decide", () => {
    const disturbed = (cores: number, step: number) => (step % 7 === 0 ? 1 : 0.004 / cores);
    expect(settled(4, disturbed)).toBe(4);
  });

  test("each number has several blocks, in turn", () => {
    const choice = new CoreChoice();
    choice.setMost(4);
    const made = used(choice, 2000, (cores) => 0.002 / cores);
    const blocks = made.filter((cores, step) => cores !== made[step - 1]);
    expect(blocks).toEqual([1, 2, 4, 1, 2, 4, 1, 2, 4]);
    expect(new Set(made.slice(-1000))).toEqual(new Set([4]));
  });

  test("the trial is repeated after half a minute of training: other programs come and go", () => {
    const choice = new CoreChoice();
    choice.setMost(2);
    used(choice, 1000, (cores) => 0.002 / cores);
    expect(choice.chosen).toBe(2);
    used(choice, 40_000, () => 0.002);
    expect(choice.chosen).toBe(1);
  });

  test("a new bound is tried out at once, and meanwhile nothing beyond it is used", () => {
    const choice = new CoreChoice();
    choice.setMost(4);
    used(choice, 1000, (cores) => 0.002 / cores);
    choice.setMost(3);
    expect(choice.chosen).toBe(1);
    expect(Math.max(...used(choice, 1000, (cores) => 0.002 / cores))).toBe(3);
    expect(choice.chosen).toBe(3);
  });

  test("the same durations give the same choice", () => {
    const durations = (cores: number, step: number) => 0.001 + ((step * 7919) % 13) / 1e4 / cores;
    const runs = [1, 2].map(() => {
      const choice = new CoreChoice();
      choice.setMost(8);
      return used(choice, 3000, durations);
    });
    expect(runs[1]).toEqual(runs[0]);
  });
});
