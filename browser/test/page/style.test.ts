import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const style = readFileSync(new URL("../../src/page/style.css", import.meta.url), "utf8");

/** The colours that a rule sets, by name. */
function colours(selector: string): Record<string, string> {
  const begin = style.indexOf(`${selector} {`) + selector.length + 2;
  const body = style.slice(begin, style.indexOf("}", begin));
  return Object.fromEntries(
    [...body.matchAll(/--([\w-]+): ([^;]+);/g)].map(([, name, value]) => [name, value]),
  );
}

test("dark is the same colours whether the system or the person has chosen it", () => {
  const chosen = colours(':root[data-theme="dark"]');
  expect(Object.keys(chosen).length).toBeGreaterThan(10);
  expect(chosen).toEqual(colours(':root:not([data-theme="light"])'));
});
