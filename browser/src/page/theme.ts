/** Light, dark, or as the system has it; the choice is kept in this browser. */

import { action, field, setText } from "./dom.ts";

const KEY = "meshlearn colours";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];
const WORDS: Readonly<Record<Theme, string>> = { system: "System", light: "Light", dark: "Dark" };

/** Apply the choice, let the button change it, and call `changed` after every change of colours. */
export function followTheme(changed: () => void): void {
  const button = action("theme");
  let theme: Theme = THEMES.find((name) => name === read(KEY)) ?? "system";
  const apply = () => {
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
    } else {
      document.documentElement.dataset.theme = theme;
    }
    setText(field("theme"), WORDS[theme]);
    button.setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
  };
  apply();
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    keep(KEY, theme);
    apply();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

/** A choice that this browser has kept; null where it keeps none or may not. */
export function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is forbidden here; the page does without
  }
}

export function keep(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // the choice holds until the page is closed
  }
}
