import { drawSpark } from './chart.js';
import { count, getJSON, percent, repeat, setText, showState } from './live.js';

const list = document.querySelector('[data-list]');
const field = (parent, name) => parent.querySelector(`[data-field="${name}"]`);
let runs = [];

function cards() {
  return new Map([...list.children].map((card) => [card.dataset.run, card]));
}

/** Takes the cards from the page as the server writes it now: runs have appeared or gone. */
async function replaceCards() {
  const response = await fetch('/', { cache: 'no-cache' });
  const fresh = new DOMParser().parseFromString(await response.text(), 'text/html').querySelector('[data-list]');
  list.replaceChildren(...fresh.children);
  list.className = fresh.className;
}

function draw() {
  const known = cards();
  for (const run of runs) {
    const card = known.get(run.run);
    if (card) drawSpark(field(card, 'curve'), run.curve);
  }
}

async function update() {
  runs = (await getJSON('/api/runs')).runs;
  if ([...cards().keys()].join() !== runs.map((run) => run.run).join()) await replaceCards();
  const known = cards();
  for (const run of runs) {
    const card = known.get(run.run);
    if (!card) continue;
    showState(field(card, 'state'), run);
    setText(field(card, 'accuracy'), percent(run.last?.accuracy));
    setText(field(card, 'online'), count(run.online, 'peer'));
  }
  setText(document.querySelector('[data-field="count"]'), count(runs.length, 'run'));
  const total = runs.reduce((sum, run) => sum + run.online, 0);
  setText(document.querySelector('[data-field="total"]'), `${count(total, 'peer')} online`);
  draw();
}

new ResizeObserver(draw).observe(list);
repeat(update, 5);
