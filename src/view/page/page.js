// The page of a receiver's view: one WebSocket for all sources, the newest frame of each, and the store to look back.

import { PALETTES, decode, draw, parse, probe, range, read, table, toGrey } from './picture.js';

const $ = (id) => document.getElementById(id);
const HISTORY = 120;
const QUIET_MS = 5000;
/** Figures come twice a second. Without any for so long nobody answers; after the second time it is connected anew. */
const SILENT_MS = 3000;
const DEAD_MS = 10000;

/** Sources by id: figures, history, the frame on show, and their cards. */
const sources = new Map();
const page = { socket: null, retry: 500, paused: false, open: null, back: null, skew: 0, watched: '' };

// ---- words and numbers

const thin = '\u202f';
// What no number holds is text.
const count = (n) => (n == null ? '–' : typeof n === 'string' ? n.replace(/\B(?=(\d{3})+$)/g, thin) : counted(n));
const counted = (n) => (Math.round(n).toLocaleString('en').replaceAll(',', thin));
function time(ms) {
  if (ms == null) return '–';
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60e3) return `${(ms / 1000).toFixed(ms < 10e3 ? 2 : 1)} s`;
  if (ms < 3600e3) return `${Math.floor(ms / 60e3)} min ${Math.round((ms % 60e3) / 1000)} s`;
  return `${Math.floor(ms / 3600e3)} h ${Math.round((ms % 3600e3) / 60e3)} min`;
}
/** How long ago something was, as people say it. */
const ago = (ms) => (ms < 59.5e3 ? `${Math.round(ms / 1000)} s` : time(Math.round(ms / 1000) * 1000));
function share(part) {
  if (part == null) return '–';
  const percent = part * 100;
  return `${percent === 0 ? '0' : percent < 0.1 ? percent.toFixed(2) : percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}
const rate = (n) => (n == null ? '–' : n < 10 && n % 1 ? n.toFixed(1) : String(Math.round(n)));
function size(bytes) {
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (bytes < 1000 || unit === 'TB') return `${unit === 'B' || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${unit}`;
    bytes /= 1000;
  }
}
function clock(ms) {
  if (ms == null) return '–';
  const at = new Date(ms);
  const two = (n, width = 2) => String(n).padStart(width, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}
const address = (id) => id.split('/').map(encodeURIComponent).join('/');
const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// ---- settings, kept in this browser alone

const kept = (() => {
  try { return JSON.parse(localStorage.getItem('framelane')) ?? {}; } catch { return {}; }
})();
kept.of ??= {};
function keep() {
  try { localStorage.setItem('framelane', JSON.stringify(kept)); } catch { /* it goes without */ }
}
function settings(source) {
  const own = kept.of[source.id] ?? {};
  const isRaw = source.picture?.values != null && source.picture.channels === 1;
  const palette = own.palette ?? (isRaw ? 'iron' : PALETTES[0]);
  return { palette: isRaw && palette === PALETTES[0] ? 'white-hot' : palette, mode: own.mode ?? 'auto', fixed: own.fixed };
}
function change(source, what) {
  kept.of[source.id] = { ...kept.of[source.id], ...what };
  keep();
  source.shown = null;
  paint(source);
  fillColour();
}

// ---- the connection

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const socket = new WebSocket(`${scheme}://${location.host}${new URL('ws', location.href).pathname}`);
  socket.binaryType = 'arraybuffer';
  page.socket = socket;
  page.heard = performance.now();
  socket.onopen = () => {
    page.retry = 500;
    page.heard = performance.now();
    page.watched = '';
    // A receiver that was started anew counts from the first again.
    for (const source of sources.values()) source.number = 0;
  };
  socket.onmessage = ({ data }) => (typeof data === 'string' ? figures(parse(data)) : arrived(data));
  socket.onclose = () => {
    if (page.socket !== socket) return;
    page.socket = null;
    lost('connection lost');
    setTimeout(connect, page.retry);
    page.retry = Math.min(page.retry * 2, 8000);
    why();
  };
}

/** A socket that is refused tells a page nothing: what answers otherwise does. */
async function why() {
  try {
    const answer = await fetch('state');
    if (answer.ok || page.socket?.readyState === WebSocket.OPEN) return;
    const text = (await answer.text()).trim();
    if (text) trouble(text, true);
  } catch { /* nobody is there */ }
}

/** Nothing is shown as if it came just now. */
function lost(text) {
  status('lost', text);
  document.body.classList.add('lost');
  for (const source of sources.values()) showAge(source);
}

/** A connection that has died in silence is not told by anybody. */
setInterval(() => {
  for (const source of sources.values()) showAge(source);
  const silent = performance.now() - (page.heard ?? performance.now());
  if (!page.socket || silent < SILENT_MS) return;
  lost(`no answer for ${Math.floor(silent / 1000)} s`);
  if (silent < DEAD_MS) return;
  const { socket } = page;
  socket.onclose = socket.onmessage = null;
  socket.close();
  page.socket = null;
  connect();
}, 1000);

function say(message) {
  if (page.socket?.readyState === WebSocket.OPEN) page.socket.send(JSON.stringify(message));
}

/** Looks at what is in sight, and at nothing while the page is paused or hidden. */
function watch() {
  let ids = [];
  if (!page.paused && !document.hidden) {
    const seen = page.open ? (page.back ? [] : [page.open]) : [...sources.values()].filter((source) => source.inSight);
    ids = seen.map((source) => source.id);
  }
  const wanted = JSON.stringify(ids);
  if (wanted === page.watched || page.socket?.readyState !== WebSocket.OPEN) return;
  page.watched = wanted;
  for (const source of sources.values()) if (!ids.includes(source.id)) source.number = 0;
  say({ watch: ids });
}

function status(is, text) {
  const pill = $('link');
  pill.dataset.is = is;
  set(pill, text);
}

// ---- figures

function figures(now) {
  page.heard = performance.now();
  document.body.classList.remove('lost');
  page.skew = Date.now() - now.at_unix_ns / 1e6;
  page.now = now;
  const ids = new Set(now.sources.map((source) => source.id));
  let moved = false;
  for (const [id, source] of sources) {
    if (ids.has(id)) continue;
    source.card.remove();
    sources.delete(id);
    moved = true;
    if (page.open === source) {
      // It is opened again when it is there again.
      page.wish = location.hash;
      close();
    }
  }
  for (const figures of now.sources) {
    let source = sources.get(figures.id);
    if (!source) {
      source = { id: figures.id, history: new Map(), picture: null, number: 0, inSight: true };
      sources.set(figures.id, source);
      build(source);
      moved = true;
    }
    source.figures = figures;
    remember(source, figures.history, now.at_unix_ns / 1e9);
    fill(source);
  }
  if (moved) arrange();
  const all = now.sources;
  const sum = (of) => all.reduce((total, source) => total + of(source), 0);
  set($('total-sources'), count(all.length));
  set($('total-rate'), rate(sum((source) => source.frames_per_s)));
  set($('total-bits'), rate(sum((source) => source.bytes_per_s * 8e-6)));
  set($('total-stored'), count(sum((source) => source.held ?? source.stored)));
  trouble(now.trouble, !now.ready);
  if (page.paused) status('paused', 'paused');
  else if (!now.ready) status('lost', 'takes no frames');
  else if (all.some((source) => source.state === 'live')) status('live', 'live');
  else status('waiting', now.sessions ? 'waiting for frames' : 'no sender');
  $('empty').hidden = all.length > 0 || page.open != null;
  if (page.wish) openByHash();
  if (page.open) fillOne();
  watch();
}

/** What is wrong, above everything. Figures in it change all the time, and are not told anew for that. */
function trouble(words, isBad) {
  const place = $('trouble');
  place.hidden = !words;
  place.dataset.is = isBad ? 'not' : 'low';
  const kind = (words ?? '').replace(/[0-9.,]+( [kMGT]?B)?/g, '#');
  const minute = String(Math.floor(Date.now() / 60e3));
  if (place.dataset.kind === kind && place.dataset.minute === minute) return;
  Object.assign(place.dataset, { kind, minute });
  set(place, words ? `${words[0].toUpperCase()}${words.slice(1)}${words.endsWith('.') ? '' : '.'}` : '');
}

function remember(source, seconds, now) {
  for (const second of seconds) source.history.set(second.at, second);
  for (const at of source.history.keys()) if (at < now - HISTORY - 1) source.history.delete(at);
}

// ---- cards

function build(source) {
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
  for (const { target, isIntersecting } of seen) if (target.source) target.source.inSight = isIntersecting;
  watch();
}, { rootMargin: '120px' });

const STATES = { live: 'frames come', waiting: 'nothing has come for 5 s', ended: 'the sender has ended it', away: 'no sender is connected' };

function fill(source) {
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

/** How old what is shown is, where that is not new; at full size as well, whose picture may be all that is in sight. */
function showAge(source) {
  const newest = source.figures?.newest;
  const age = newest ? Date.now() - page.skew - newest.stored_unix_ns / 1e6 : null;
  const text = age > QUIET_MS ? `${ago(age)} ago` : '';
  set(source.parts.age, text);
  if (page.open === source) set($('one-age'), page.back ? '' : text);
}

const UNSHOWN = 'This image cannot be shown here';
const nothing = (figures) => (figures.held ? 'No frame since the receiver began' : 'No frame yet');

function unit(element, value, words) {
  const text = `${value}|${words}`;
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  element.replaceChildren(make('b', {}, value), ' ', make('small', {}, words));
}

function facts(list, entries) {
  const text = JSON.stringify(entries);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...entries.map(([name, value, is]) => make('div', {}, make('dt', {}, name), make('dd', is ? { class: is } : {}, value))));
}

function receipts(bar, figures) {
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

// ---- sparklines

const SVG = 'http://www.w3.org/2000/svg';
function spark() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  return svg;
}

/** Draws the mean latency of each second; gives the top of the scale in ms, or 0 where there is nothing. */
function plot(svg, source) {
  const [width, height] = [HISTORY, 40];
  const now = Math.floor((page.now?.at_unix_ns ?? 0) / 1e9);
  if (svg.dataset.at === `${source.id} ${now}`) return Number(svg.dataset.top);
  svg.dataset.at = `${source.id} ${now}`;
  if (!svg.firstChild) {
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    for (const name of ['area', 'line', 'base']) {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('class', name);
      svg.append(path);
    }
    svg.lastChild.setAttribute('d', `M0 ${height}H${width}`);
  }
  const runs = [];
  let top = 0;
  for (let at = now - HISTORY; at < now; at++) {
    const mean = source.history.get(at)?.mean_ms;
    if (mean == null) continue;
    top = Math.max(top, mean);
    const x = at - (now - HISTORY) + 0.5;
    const last = runs.at(-1);
    // A source of few frames has seconds between them.
    if (last && x - last.at(-1)[0] < 4) last.push([x, mean]);
    else runs.push([[x, mean]]);
  }
  const scale = nice(top);
  let [line, area] = ['', ''];
  for (const run of runs) {
    if (run.length === 1) run.push([run[0][0] + 0.9, run[0][1]]);
    const points = run.map(([x, y]) => `${x} ${(height - 1 - (y / scale) * (height - 3)).toFixed(2)}`).join('L');
    line += `M${points}`;
    area += `M${run[0][0]} ${height}L${points}L${run.at(-1)[0]} ${height}Z`;
  }
  svg.children[0].setAttribute('d', area);
  svg.children[1].setAttribute('d', line);
  svg.dataset.top = String(top ? scale : 0);
  return top ? scale : 0;
}

function nice(value) {
  if (!value) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 1.05) ?? value;
}

// ---- arrangement: all sources in sight where they fit, rows to scroll where they do not

function arrange() {
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

// ---- frames

async function arrived(buffer) {
  const frame = { ...read(buffer), by: page.socket };
  const source = sources.get(frame.head.source);
  if (source) await show(source, frame);
  // The next one is sent when this one is shown.
  say({ seen: frame.head.source, number: frame.head.number });
}

async function show(source, frame, stored = false) {
  let picture = null;
  try {
    picture = await decode(frame, settings(source).palette !== PALETTES[0]);
  } catch { /* it is told below */ }
  // What was on its way when the page was paused, or while somebody looks back, takes no place; nor does a frame that is
  // decoded after a newer one, or after the connection that it came by.
  const isOld = () => frame.by !== page.socket || frame.head.number < source.number;
  if (!stored && (page.paused || (page.open === source && page.back) || isOld())) {
    picture?.bitmap?.close();
    return;
  }
  source.picture?.bitmap?.close();
  source.picture = picture ?? { head: { ...frame.head, form: 'none' }, width: 0, height: 0 };
  source.number = frame.head.number;
  paint(source);
}

/** Takes the picture away from a source at full size: nothing of another frame stays beside these words. */
function blank(words) {
  const canvas = $('large');
  canvas.width = canvas.height = 1;
  $('probe').hidden = true;
  set($('one-empty'), words);
  $('one-empty').hidden = false;
}

function paint(source) {
  const { picture } = source;
  if (!picture) return;
  if (picture.head.form === 'none') {
    source.parts.none.hidden = false;
    if (page.open !== source) return;
    blank(picture.head.words ?? UNSHOWN);
    afterLarge(source);
    return;
  }
  const own = settings(source);
  if (own.palette !== PALETTES[0] && picture.head.grey) toGrey(picture);
  let shown = range(picture, own.mode, own.fixed);
  if (own.mode === 'auto' && source.shown && !page.back) {
    // So that it does not flicker.
    shown = shown.map((to, end) => source.shown[end] + (to - source.shown[end]) * 0.25);
    if (shown[1] - shown[0] < 1) shown[1] = shown[0] + 1;
  }
  source.shown = shown;
  const isOpen = page.open === source;
  const canvas = isOpen ? $('large') : source.parts.canvas;
  const across = isOpen ? Infinity : Math.max(160, canvas.clientWidth * devicePixelRatio);
  draw(canvas, picture, { palette: own.palette, shown }, across);
  source.parts.none.hidden = true;
  if (!isOpen && source.shape !== picture.width / picture.height) {
    source.shape = picture.width / picture.height;
    source.card.style.setProperty('--shape', `${picture.width} / ${picture.height}`);
    arrange();
  }
  if (isOpen) afterLarge(source);
}

// ---- one source

function open(source) {
  page.open = source;
  page.wish = null;
  page.back = null;
  source.shown = null;
  $('grid').hidden = $('empty').hidden = true;
  $('one').hidden = false;
  document.body.classList.add('single');
  document.title = `${source.id} · framelane`;
  history.replaceState(null, '', `#${address(source.id)}`);
  set($('one-name'), source.id);
  $('scrub').value = $('scrub').max;
  $('one-wrong').hidden = true;
  setReal(false);
  // Nothing stays of the source that was open before.
  set($('one-when'), '');
  facts($('one-frame'), []);
  $('one-file').hidden = true;
  blank(source.figures.newest ? 'Loading' : nothing(source.figures));
  if (source.picture) paint(source);
  fillOne();
  fillColour();
  page.watched = '';
  watch();
  // Nothing comes by itself while the page is paused.
  if (page.paused && !source.picture) look('share=1');
  $('window').focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function close() {
  const source = page.open;
  if (!source) return;
  page.open = page.back = null;
  $('one').hidden = true;
  document.body.classList.remove('single');
  $('grid').hidden = false;
  $('empty').hidden = sources.size > 0;
  $('probe').hidden = true;
  document.title = 'framelane';
  history.replaceState(null, '', location.pathname);
  arrange();
  source.shown = null;
  // What could not be had was of the store, and is not the newest.
  if (source.picture?.head.words) source.picture = null;
  page.watched = '';
  watch();
  source.parts.picture.focus();
}

function openByHash() {
  const source = [...sources.values()].find((source) => `#${address(source.id)}` === page.wish);
  if (source) open(source);
}

function fillOne() {
  const source = page.open;
  const figures = source.figures;
  $('one-dot').dataset.state = figures.state;
  $('one-dot').title = STATES[figures.state] ?? '';
  set($('one-p50'), time(figures.latency?.p50_ms));
  set($('one-p95'), time(figures.latency?.p95_ms));
  set($('one-max'), time(figures.latency?.max_ms));
  const top = plot($('one-spark'), source);
  set($('one-scale'), top ? `0 to ${time(top)}` : 'nothing yet');
  const sender = figures.senders[0];
  facts($('one-link'), [
    ['rate', `${rate(figures.frames_per_s)} frames/s, ${(figures.bytes_per_s * 8e-6).toFixed(1)} Mbit/s`, ''],
    ['loss', share(figures.loss), figures.loss > 0.05 ? 'bad' : figures.loss > 0.01 ? 'warn' : ''],
    ['round trip', time(figures.rtt_ms), ''],
    ['repair', share(figures.repair), ''],
    ['spool lag', figures.lag_s == null ? (figures.pending === 0 ? 'none' : '–') : time(figures.lag_s * 1000), figures.lag_s > 2 ? 'warn' : ''],
    ['sender', sender ? (sender.name ?? sender.pin?.slice(0, 19) ?? sender.peer) : 'none connected', ''],
    ['over', sender ? `${sender.transport}, ${sender.peer}` : '–', ''],
  ]);
  receipts($('one-receipts'), figures);
  facts($('one-counts'), [
    ['in the store', count(figures.held), ''],
    ['stored since the start', count(figures.sent), ''],
    ['pending', count(figures.pending), ''],
    ['dropped, declared', count(figures.dropped), figures.dropped ? 'warn' : ''],
    ['missing', count(figures.missing), figures.missing ? 'bad' : ''],
    ['refused', count(figures.refused), figures.refused ? 'warn' : ''],
    ['made whole by repair', count(figures.repaired), ''],
  ]);
  const head = source.picture?.head;
  if (head && !page.back) set($('one-when'), head.stored_ms ? `stored ${clock(head.stored_ms)}` : '');
  $('one-stream').href = `${address(source.id)}.mjpeg`;
  $('live').setAttribute('aria-pressed', String(!page.back && !page.paused));
}

function afterLarge(source) {
  const { head, width, height, values } = source.picture;
  if (head.form !== 'none') $('one-empty').hidden = true;
  const own = settings(source);
  // What the first picture of a source brings, or its first one of 16 bits.
  if ($('one-colour').hidden === hasRange(source) || $('one-palette').value !== own.palette) fillColour();
  facts($('one-frame'), [
    ['name', head.name, ''],
    ['sequence', count(head.sequence), ''],
    ['captured', clock(head.captured_ms ?? head.due_ms), ''],
    ['stored', clock(head.stored_ms), ''],
    ['size', `${width ? `${width} × ${height}${values ? ', 16 bit' : ''}, ` : ''}${size(head.bytes)}`, ''],
  ]);
  set($('one-when'), page.back ? `from the store: ${clock(head.captured_ms ?? head.stored_ms)}` : `stored ${clock(head.stored_ms)}`);
  const at = page.back?.at != null ? `?at=${page.back.at}` : '';
  $('one-file').hidden = head.words != null;
  $('one-file').href = `${address(source.id)}/frames/${head.sequence}${at}`;
  $('one-file').setAttribute('download', head.name.split('/').at(-1));
  if (!source.shown || !width) return;
  const [low, high] = source.shown;
  for (const [field, value] of [['one-low', low], ['one-high', high]]) {
    if (document.activeElement !== $(field)) $(field).value = Math.round(value);
  }
  if (page.pointer) point(page.pointer);
}

/** Whether a picture's levels are spread over a range: grey ones, and 16-bit values of colour. */
const hasRange = (source) => Boolean(source.picture?.head.grey || source.picture?.values);

// ---- palette and range

for (const name of PALETTES) $('one-palette').append(make('option', {}, name));
$('one-palette').addEventListener('change', ({ target }) => page.open && change(page.open, { palette: target.value }));
$('one-range').addEventListener('change', ({ target }) => page.open && change(page.open, { mode: target.value, fixed: page.open.shown?.map(Math.round) }));
for (const field of ['one-low', 'one-high']) {
  $(field).addEventListener('change', () => {
    if (!page.open?.shown) return;
    const shown = page.open.shown.map(Math.round);
    // An empty field is no number, and stays as it was.
    const fixed = ['one-low', 'one-high'].map((name, end) => ($(name).value === '' ? shown[end] : Math.round(Number($(name).value))));
    const top = page.open.picture?.values ? 65535 : 255;
    const wrong = fixed[0] >= fixed[1] ? `From ${count(fixed[0])} has to be below ${count(fixed[1])}: the range stays as it was.`
      : fixed[0] < 0 || fixed[1] > top ? `Values go from 0 to ${count(top)}: the range stays as it was.` : '';
    set($('one-wrong'), wrong);
    $('one-wrong').hidden = !wrong;
    if (wrong || fixed.every((value, end) => value === shown[end])) [$('one-low').value, $('one-high').value] = shown;
    else change(page.open, { mode: 'fixed', fixed });
  });
}

function fillColour() {
  const source = page.open;
  if (!source) return;
  const own = settings(source);
  $('one-colour').hidden = !hasRange(source);
  $('one-colours').hidden = $('one-legend').hidden = !source.picture?.head.grey;
  $('one-palette').options[0].disabled = source.picture?.values != null;
  $('one-palette').value = own.palette;
  $('one-range').value = own.mode;
  const context = $('one-legend').getContext('2d');
  const image = context.createImageData(256, 1);
  new Uint32Array(image.data.buffer).set(table(own.palette === PALETTES[0] ? 'white-hot' : own.palette));
  context.putImageData(image, 0, 0);
}

function nextPalette() {
  const grey = page.open ? [page.open] : [...sources.values()].filter((source) => source.picture?.head.grey);
  if (!grey.length) return;
  const now = PALETTES.indexOf(settings(grey[0]).palette);
  let next = (now + 1) % PALETTES.length;
  if (next === 0 && grey.every((source) => source.picture?.values)) next = 1;
  for (const source of grey) change(source, { palette: PALETTES[next] });
}

function nextRange() {
  if (!page.open) return;
  const modes = ['auto', 'full', 'fixed'];
  const mode = modes[(modes.indexOf(settings(page.open).mode) + 1) % modes.length];
  change(page.open, { mode, fixed: page.open.shown?.map(Math.round) });
}

// ---- the value under the pointer

function point({ clientX, clientY }) {
  const source = page.open;
  const canvas = $('large');
  const { width, height } = source?.picture ?? {};
  if (!width) return;
  const box = canvas.getBoundingClientRect();
  const scale = Math.min(box.width / width, box.height / height);
  const x = Math.floor((clientX - box.left - (box.width - width * scale) / 2) / scale);
  const y = Math.floor((clientY - box.top - (box.height - height * scale) / 2) / scale);
  const value = probe(source.picture, x, y);
  const output = $('probe');
  output.hidden = value == null;
  if (value == null) return;
  output.replaceChildren(make('b', {}, value), make('span', {}, `x ${x}, y ${y}`));
  const frame = $('window').getBoundingClientRect();
  const left = clientX - frame.left + 16;
  const place = (at, room, own) => `${Math.max(4, at + own > room ? at - own - 30 : at)}px`;
  output.style.left = place(left + $('window').scrollLeft, frame.width + $('window').scrollLeft, output.offsetWidth);
  output.style.top = place(clientY - frame.top + 14 + $('window').scrollTop, frame.height + $('window').scrollTop, output.offsetHeight);
}
$('window').addEventListener('pointermove', (event) => { page.pointer = { clientX: event.clientX, clientY: event.clientY }; point(event); });
$('window').addEventListener('pointerleave', () => { page.pointer = null; $('probe').hidden = true; });

function setReal(real) {
  $('window').classList.toggle('real', real);
  $('fit').setAttribute('aria-pressed', String(real));
}

// ---- looking back

/** Shows a stored frame; of several that are asked for while one is on its way, the last. */
async function look(query) {
  const source = page.open;
  if (!source) return;
  page.asked = query;
  if (page.asking) return;
  page.asking = true;
  try {
    while (page.asked && page.open === source) {
      const asked = page.asked;
      page.asked = null;
      const answer = await fetch(`${address(source.id)}/frames?limit=1&${asked}`);
      const list = answer.ok ? parse(await answer.text()) : null;
      const found = list?.frames[0];
      if (page.open !== source) continue;
      if (!found) {
        if (!source.picture) blank(answer.ok ? 'Nothing is stored' : (await answer.text()).trim());
        continue;
      }
      const frame = await fetch(`${address(source.id)}/frames/${found.sequence}?as=page&at=${found.at}`);
      const content = frame.ok ? await frame.arrayBuffer() : await frame.text();
      if (page.open !== source) continue;
      page.back = { at: found.at, next: list.next, share: found.share };
      watch();
      if (frame.ok) await show(source, read(content), true);
      else {
        facts($('one-frame'), [['name', found.name, ''], ['sequence', count(found.sequence), '']]);
        $('one-file').hidden = true;
        source.picture = null;
        blank(content.trim());
      }
      if (!page.dragging) $('scrub').value = Math.round(found.share * $('scrub').max);
      fillOne();
    }
  } catch {
    status('lost', 'the store cannot be read');
  } finally {
    page.asking = false;
    // Asked of a source that was opened meanwhile.
    if (page.asked && page.open && page.open !== source) look(page.asked);
  }
}

function step(forward) {
  if (!page.open) return;
  if (!page.back) {
    if (forward) return;
    const sequence = page.open.picture?.head.sequence;
    // The frame before the one on show.
    look(sequence == null ? 'share=1' : `sequence=${sequence}`).then(() => page.back && look(`before=${page.back.at}`));
  } else if (!forward) look(`before=${page.back.at}`);
  else if (page.back.next) look(`at=${page.back.next}`);
  else follow();
}

function follow() {
  page.back = page.asked = null;
  page.watched = '';
  $('scrub').value = $('scrub').max;
  if (page.paused) pause();
  watch();
  fillOne();
}

$('scrub').addEventListener('input', ({ target }) => { page.dragging = true; look(`share=${target.value / target.max}`); });
$('scrub').addEventListener('change', () => { page.dragging = false; });
$('earlier').addEventListener('click', () => step(false));
$('later').addEventListener('click', () => step(true));
$('live').addEventListener('click', follow);
$('back').addEventListener('click', close);
$('fit').addEventListener('click', () => setReal(!$('window').classList.contains('real')));

// ---- tools and keys

function pause() {
  page.paused = !page.paused;
  $('pause').setAttribute('aria-pressed', String(page.paused));
  set($('pause').querySelector('span'), page.paused ? 'Go on' : 'Pause');
  if (page.socket?.readyState !== WebSocket.OPEN) status('lost', 'connection lost');
  else status(page.paused ? 'paused' : 'live', page.paused ? 'paused' : 'live');
  watch();
  if (page.open) fillOne();
}

function theme() {
  const dark = document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  kept.theme = document.documentElement.dataset.theme = dark === 'dark' ? 'light' : 'dark';
  keep();
}
if (kept.theme) document.documentElement.dataset.theme = kept.theme;

function full() {
  if (document.fullscreenElement) document.exitFullscreen();
  else (page.open ? $('window') : document.documentElement).requestFullscreen?.();
}

const help = () => ($('keys').open ? $('keys').close() : $('keys').showModal());
$('pause').addEventListener('click', pause);
$('palette').addEventListener('click', nextPalette);
$('theme').addEventListener('click', theme);
$('help').addEventListener('click', help);

const KEYS = {
  ' ': pause,
  k: pause,
  p: nextPalette,
  r: nextRange,
  t: theme,
  f: full,
  l: () => page.open && follow(),
  z: () => page.open && setReal(!$('window').classList.contains('real')),
  ArrowLeft: () => step(false),
  ArrowRight: () => step(true),
  Home: () => page.open && look('share=0'),
  Escape: close,
  '?': help,
};
addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $('keys').open) return;
  const field = event.target.closest?.('input, select');
  if (field && event.key !== 'Escape') return;
  if (event.key === ' ' && event.target.closest?.('button, a')) return;
  const number = Number(event.key);
  if (number >= 1 && number <= 9) {
    const card = $('grid').children[number - 1];
    if (card) { if (page.open) close(); open(card.source); }
    return;
  }
  const does = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!does || (event.key === 'Home' && !page.open)) return;
  event.preventDefault();
  does();
});

addEventListener('resize', () => { arrange(); for (const source of sources.values()) if (source.inSight) paint(source); });
addEventListener('hashchange', () => { page.wish = location.hash; if (sources.size) openByHash(); });
document.addEventListener('visibilitychange', watch);
page.wish = location.hash || null;
connect();
