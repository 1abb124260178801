import { Chart } from './chart.js';
import { getJSON, percent, repeat, setText, shortNumber, showState } from './live.js';

const run = document.body.dataset.run;
// The key of the run stands behind the #, which browsers never send to a server. Only what has exactly the form of a
// key is ever put into the command: anybody can make a link, and people paste the command into a shell.
const token = /^#([A-Za-z0-9_-]{22})$/.exec(location.hash)?.[1] ?? '';
const command = `pip install meshlearn && meshlearn join '${location.origin}/r/${run}#${token}'`;

const field = (name) => document.querySelector(`[data-field="${name}"]`);
const disagreement = (value) => (value === 0 ? '0' : value >= 1e-4 ? Number(value.toPrecision(2)).toString() : value.toExponential(0).replace('e-', 'e−'));

let charts = [];
let tag = '';

function start() {
  const accuracy = document.querySelector('[data-chart="accuracy"]');
  const apart = document.querySelector('[data-chart="disagreement"]');
  const goal = accuracy.dataset.goal;
  charts = [
    [new Chart(accuracy, { label: 'Accuracy over time', scale: 'share', goal: goal === '' ? null : Number(goal),
      format: (value, tick) => (tick ? `${Math.round(value * 1000) / 10} %` : percent(value)) }), 'accuracy'],
    [new Chart(apart, { label: 'Disagreement over time', scale: 'log', goal: null, warm: true,
      format: disagreement }), 'disagreement'],
  ];
  const join = document.querySelector('[data-join]');
  const over = document.querySelector('[data-field="state"]').classList.contains('over');
  join.dataset.show = over ? 'over' : token ? 'token' : 'no-token';
  setText(field('command'), command);
  document.querySelector('[data-copy]').addEventListener('click', copy);
}

async function copy(event) {
  let words = 'Copied';
  try {
    await navigator.clipboard.writeText(command);
  } catch {
    // Without https there is no clipboard: select the text, so that Ctrl+C is enough.
    getSelection().selectAllChildren(field('command'));
    words = 'Selected: press Ctrl+C or ⌘C';
  }
  setText(event.target, words);
  setText(field('copied'), words);
  setTimeout(() => {
    setText(event.target, 'Copy');
    setText(field('copied'), '');
  }, 4000);
}

async function update() {
  const now = await getJSON(`/api/runs/${run}`, token);
  showState(field('state'), now);
  setText(field('online'), now.online.toLocaleString('en'));
  for (const kind of ['python', 'browser', 'tracker']) setText(field(kind), now.kinds[kind].toLocaleString('en'));
  setText(field('rate'), shortNumber(now.samples_per_second));
  setText(field('accuracy'), percent(now.last?.accuracy));
  if (now.last?.samples !== undefined) setText(field('samples'), shortNumber(now.last.samples));
  if (now.last?.disagreement !== undefined) setText(field('disagreement'), disagreement(now.last.disagreement));
  setText(field('reason'), now.reason);
  if (now.state === 'over') document.querySelector('[data-join]').dataset.show = 'over';
  if (now.history_tag === tag) return;
  const history = await getJSON(`/api/runs/${run}/history?points=512`, token);
  tag = now.history_tag;
  for (const [chart, name] of charts) {
    chart.show(history.filter((line) => line[name] !== undefined).map((line) => [line.time_s, line[name]]));
  }
}

/** A private run's page is only a shell: ask for it again, with the key. */
async function unlock() {
  if (!document.body.dataset.private || !token) return;
  const response = await fetch(location.pathname, { headers: { Authorization: `Bearer ${token}` }, cache: 'no-store' });
  if (!response.ok) return;
  const full = new DOMParser().parseFromString(await response.text(), 'text/html');
  document.querySelector('main').replaceWith(full.querySelector('main'));
  document.title = full.title;
}

addEventListener('hashchange', () => location.reload());
await unlock();
start();
repeat(update, 3, (away) => setText(field('connection'), away ? 'The server does not answer; trying again' : ''));
