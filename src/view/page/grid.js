// All sources side by side: a card for each, as large as they fit.

import { $, facts, make, set, unit } from './dom.js';
import { watch } from './link.js';
import { plot, spark } from './spark.js';
import { QUIET_MS, age, page, sources } from './state.js';
import { ago, count, rate, share, time } from './words.js';

/** Makes the card of a source; a click on its picture does `open`. */
export function build(source, open) {
  const canvas = make('canvas', { 'aria-hidden': 'true' });
  const none = make('p', { class: 'none' }, 'No frame yet');
  const age = make('span', { class: 'chip' });
  const picture = make('button', { type: 'button', class: 'picture' }, canvas, none, age);
  const parts = { canvas, none, age, picture };
  parts.dot = make('i', { class: 'dot' });
  parts.title = make('h2', {}, source.id);
  parts.title.title = source.id;
  parts.who = make('span', { class: 'who' });
  parts.rate = make('span', { class: 'rate' });
  parts.latency = make('span', { class: 'latency' });
  parts.spark = spark();
  parts.facts = make('dl', { class: 'facts' });
  parts.receipts = make('div', { class: 'receipts', role: 'img' });
  const name = make('div', { class: 'name' }, parts.dot, parts.title, parts.who, parts.rate);
  const timing = make('div', { class: 'timing' }, parts.latency, parts.spark);
  const about = make('div', { class: 'about' }, name, timing, parts.facts, parts.receipts);
  source.card = make('article', { class: 'card' }, picture, about);
  source.parts = parts;
  picture.addEventListener('click', () => open(source));
  source.card.source = source;
  sight.observe(source.card);
}

const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) target.source.inSight = isIntersecting;
  watch();
}, { rootMargin: '120px' });

export const STATES = { live: 'frames come', waiting: 'nothing has come for 5 s', ended: 'the sender has ended it', away: 'no sender is connected' };

export function fill(source) {
  const { figures, parts, card } = source;
  card.dataset.state = figures.state;
  parts.dot.title = STATES[figures.state] ?? figures.state;
  parts.picture.setAttribute('aria-label', `${source.id}, ${STATES[figures.state]}: open at full size`);
  const sender = figures.senders[0];
  set(parts.who, sender ? [sender.name, sender.transport].filter(Boolean).join(' · ') : '');
  unit(parts.rate, rate(figures.frames_per_s), 'frames/s');
  const latency = figures.latency;
  unit(parts.latency, time(latency?.p50_ms), latency ? `p95 ${time(latency.p95_ms)}` : 'latency');
  parts.latency.title = latency ? 'Capture to stored: the median, and what 95 of 100 frames stay below' : 'No capture times that latency could be taken from';
  const top = plot(parts.spark, source);
  parts.spark.setAttribute('aria-label', top ? `Latency of the last two minutes, up to ${time(top)}` : 'No latency yet');
  facts(parts.facts, [
    ['loss', share(figures.loss), figures.loss > 0.05 ? 'bad' : figures.loss > 0.01 ? 'warn' : ''],
    ['RTT', time(figures.rtt_ms), ''],
    ['repair', share(figures.repair), ''],
    ...(figures.pending ? [['pending', count(figures.pending), '']] : []),
    ['dropped', count(figures.dropped), figures.dropped ? 'warn' : ''],
    ['missing', count(figures.missing), figures.missing ? 'bad' : ''],
    ...(figures.lag_s > 2 ? [['lag', time(figures.lag_s * 1000), 'warn']] : []),
  ]);
  receipts(parts.receipts, figures);
  const shown = source.picture?.head;
  showAge(source);
  parts.none.hidden = shown != null && shown.form !== 'none';
  set(parts.none, shown ? UNSHOWN : figures.newest ? (page.paused ? 'Paused' : 'Loading') : nothing(figures));
}

/** How old what is shown is, where that is not new. */
export function showAge(source) {
  const old = age(source);
  set(source.parts.age, old > QUIET_MS ? `${ago(old)} ago` : '');
}

export const UNSHOWN = 'This image cannot be shown here';
export const nothing = (figures) => (figures.held ? 'No frame since the receiver began' : 'No frame yet');

export function receipts(bar, figures) {
  // What is there and was neither sent nor offered since the receiver began.
  const before = Math.max(0, (figures.held ?? 0) - figures.sent);
  const parts = [...(before ? [['before', before]] : []), ['stored', figures.sent], ['pending', figures.pending ?? 0], ['dropped', figures.dropped], ['missing', figures.missing]];
  const text = parts.map(([name, n]) => `${count(n)} ${name === 'before' ? 'from before' : name}`).join(', ');
  if (bar.dataset.text === text) return;
  bar.dataset.text = text;
  bar.setAttribute('aria-label', text);
  bar.title = text;
  const total = parts.reduce((sum, [, n]) => sum + n, 0);
  bar.replaceChildren(...parts.filter(([, n]) => n > 0).map(([name, n]) => {
    const part = make('i', { class: name });
    // What is there is seen, however little it is of all.
    part.style.flexGrow = String(Math.max(n / total, 0.015));
    return part;
  }));
}

// ---- arrangement: all sources in sight where they fit, rows to scroll where they do not

export function arrange() {
  const grid = $('grid');
  const sorted = [...sources.values()].sort((a, b) => a.id.localeCompare(b.id, undefined, { numeric: true }));
  if (sorted.some((source, place) => grid.children[place] !== source.card)) grid.replaceChildren(...sorted.map((source) => source.card));
  const n = sorted.length;
  if (!n || grid.hidden) return;
  const gap = 12;
  const [width, height] = [grid.clientWidth - 2 * gap, window.innerHeight - grid.getBoundingClientRect().top - 2 * gap];
  const shape = 4 / 3;
  let best = null;
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const across = (width - gap * (columns - 1)) / columns;
    const down = (height - gap * (rows - 1)) / rows;
    const about = across < 330 || down < 330 ? 106 : 128;
    const image = Math.min(across, (down - about) * shape);
    if (!best || image > best.image) best = { columns, rows, image, across, down };
  }
  // No row is higher than its pictures need.
  const tall = Math.max(...sorted.map(({ picture }) => (picture?.width ? picture.height / picture.width : 0.75)));
  best.down = Math.min(best.down, best.across * tall + 128);
  const fits = best.image >= 170 && best.across >= 215;
  grid.classList.toggle('fitted', fits);
  if (fits) {
    grid.classList.toggle('compact', best.across < 330 || best.down < 330);
    grid.style.setProperty('--columns', best.columns);
    grid.style.setProperty('--row', `${Math.floor(best.down)}px`);
  } else {
    const columns = Math.max(1, Math.floor((width + gap) / (260 + gap)));
    grid.classList.toggle('compact', columns > 1 && n > 4);
    grid.style.setProperty('--columns', columns);
    grid.style.setProperty('--row', 'auto');
  }
}
