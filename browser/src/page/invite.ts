/** How others come in: a QR code of the link, the link itself, and a line for a terminal. */

import { encode } from "uqr";
import { field, find, setText, svg } from "./dom.ts";

const COPIED_MS = 4_000;
/** Modules of white around the code, as ISO/IEC 18004 asks for. */
const QUIET_ZONE = 4;
/** Around the option, which must not break in two. */
const LOCAL_ONLY = [
  "This address works on this computer only. To bring in a phone, start the server with ",
  "--host 0.0.0.0",
  ", and open the page at this computer's address in the network.",
] as const;

/** Fill the card for a join link; hide it where the link is not whole. */
export function showInvitation(link: string | null): void {
  find(".invite").hidden = link === null;
  if (link === null) {
    return;
  }
  if (/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(location.hostname)) {
    const [before, option, after] = LOCAL_ONLY;
    const code = document.createElement("code");
    code.textContent = option;
    field("invite-words").replaceChildren(before, code, after);
    field("qr").hidden = true; // a phone that scanned it would ask itself
    find(".invite-body").classList.add("local");
  }
  // only a link of the exact form reaches this place, so it is safe between quotes in a shell
  const command = `pip install meshlearn && meshlearn join '${link}'`;
  setText(field("command"), command);
  field("qr").replaceChildren(qrCode(link));
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-copy]")) {
    const label = button.textContent ?? "";
    const isLink = button.dataset.copy === "link";
    button.onclick = () =>
      void copy(button, isLink ? link : command, label, isLink ? null : field("command"));
  }
}

async function copy(
  button: HTMLButtonElement,
  text: string,
  label: string,
  shown: HTMLElement | null,
): Promise<void> {
  let words = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // without https there is no clipboard: select the text, so that Ctrl+C is enough
    if (shown === null) {
      words = "Copy it from the address bar";
    } else {
      getSelection()?.selectAllChildren(shown);
      words = "Selected: press Ctrl+C";
    }
  }
  setText(button, words);
  setText(field("copied"), words);
  setTimeout(() => {
    setText(button, label);
    setText(field("copied"), "");
  }, COPIED_MS);
}

/** Dark on light in every theme: some readers know nothing else. */
function qrCode(text: string): SVGSVGElement {
  const { data, size } = encode(text, { ecc: "M", border: 0 });
  const side = size + 2 * QUIET_ZONE;
  const picture = svg("svg", {
    viewBox: `0 0 ${side} ${side}`,
    "shape-rendering": "crispEdges",
    "aria-hidden": "true",
  });
  let path = "";
  for (const [y, row] of data.entries()) {
    for (const [x, isDark] of row.entries()) {
      path += isDark ? `M${x + QUIET_ZONE} ${y + QUIET_ZONE}h1v1h-1z` : "";
    }
  }
  picture.append(
    svg("rect", { class: "qr-paper", width: side, height: side }),
    svg("path", { class: "qr-ink", d: path }),
  );
  return picture;
}
