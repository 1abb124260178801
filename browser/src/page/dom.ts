/** The few things that the page does to its document. */

/** The element with data-field="name"; an Error where index.html has none, which is a fault of the page. */
export function field<Kind extends HTMLElement = HTMLElement>(name: string): Kind {
  return find<Kind>(`[data-field="${name}"]`);
}

/** The button with data-action="name". */
export function action(name: string): HTMLButtonElement {
  return find<HTMLButtonElement>(`[data-action="${name}"]`);
}

export function find<Kind extends Element = HTMLElement>(selector: string): Kind {
  const element = document.querySelector<Kind>(selector);
  if (element === null) {
    throw new Error(`index.html has no ${selector}`);
  }
  return element;
}

/** Set a text only where it differs, so that screen readers and selections are left alone. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Show a number as `text`, with the number itself in data-value for whoever reads the page by program. */
export function setFigure(element: HTMLElement, value: number | null, text: string): void {
  setText(element, text);
  if (value === null) {
    delete element.dataset.value;
  } else {
    element.dataset.value = String(value);
  }
}

const SVG = "http://www.w3.org/2000/svg";

export function svg<Name extends keyof SVGElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string | number>> = {},
): SVGElementTagNameMap[Name] {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, String(value));
  }
  return element;
}

/** Whether the person has asked for less motion. */
export function motionIsReduced(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
