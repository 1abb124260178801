// Asking the server again and again, gently: not while the page is hidden, and less often while the server is away.

/** Fetches JSON; null where nothing has changed since `tag`. */
export async function getJSON(path, token = '') {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: 'no-cache' });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** Calls `update` every `seconds`, and `failed` with true or false whenever the server goes away or comes back. */
export function repeat(update, seconds, failed = () => {}) {
  let wait = seconds;
  let timer = 0;
  let running = false;
  const turn = async () => {
    clearTimeout(timer);
    if (running) return;
    if (document.hidden) return;
    running = true;
    try {
      await update();
      failed(false);
      wait = seconds;
    } catch {
      failed(true);
      wait = Math.min(60, wait * 2);
    }
    running = false;
    timer = setTimeout(turn, wait * 1000);
  };
  document.addEventListener('visibilitychange', turn);
  return turn();
}

/** Writes 950, 12.3 k, 4.5 M. */
export function shortNumber(number) {
  for (const [factor, unit] of [[1e12, ' T'], [1e9, ' G'], [1e6, ' M'], [1e3, ' k']]) {
    if (number >= factor) return `${Number((number / factor).toPrecision(3))}${unit}`;
  }
  return number.toFixed(0);
}

export const percent = (share) => (share === undefined || share === null ? '–' : `${(100 * share).toFixed(1)} %`);
export const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;

const WORDS = { live: 'Live', waiting: 'Waiting for peers', over: 'Over' };

/** Shows the state of a run in `element`. */
export function showState(element, run) {
  const state = run.state === 'over' ? 'over' : run.online ? 'live' : 'waiting';
  element.className = `state ${state}`;
  setText(element, WORDS[state]);
}

/** Sets a text only where it differs, so that screen readers and selections are left alone. */
export function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}
