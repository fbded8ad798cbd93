// The connection: one WebSocket, noticed when it is dead, and begun again; and what is said of it.

import { $, set } from './dom.js';
import { parse } from './picture.js';
import { page, sources } from './state.js';
import { ago } from './words.js';

/** Figures come twice a second. Without any for so long nobody answers; after the second time it is connected anew. */
const SILENT_MS = 3000;
const DEAD_MS = 10000;

/** What the server takes of one page: sources that it looks at, and bytes of a message. */
const MOST_WATCHED = 256;
const LONGEST_MESSAGE = 60000;

const link = { socket: null, retry: 500, heard: 0, last: 0, ticked: 0, lost: null, refused: '', watched: '' };

/** What is wrong with the connection, in words; empty where nothing is, or where it has only begun. */
export const lost = () => (link.lost ? `${link.lost}${link.lost === NO_ANSWER ? ` ${silence()}` : ''}` : '');
/** Why this page is not let in. */
export const refused = () => link.refused;
/** By which connection something came. */
export const current = () => link.socket;

const NO_ANSWER = 'no answer';
const silence = () => `for ${ago(performance.now() - link.last)}`;

/** Connects, and goes on doing so. `on` takes `figures`, `frame` and, once a second, `tick`. */
export function connect(on) {
  link.heard = link.last = link.ticked = performance.now();
  setInterval(() => tick(on), 1000);
  begin(on);
}

function begin(on) {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const socket = new WebSocket(`${scheme}://${location.host}${new URL('ws', location.href).pathname}`);
  let isOpen = false;
  socket.binaryType = 'arraybuffer';
  link.socket = socket;
  link.heard = performance.now();
  socket.onopen = () => {
    isOpen = true;
    link.heard = performance.now();
    link.retry = 500;
    link.watched = '';
    // A receiver that was started anew counts from the first again.
    for (const source of sources.values()) source.number = 0;
  };
  socket.onmessage = ({ data }) => {
    if (link.socket !== socket) return;
    if (typeof data !== 'string') return on.frame(data);
    link.heard = link.last = performance.now();
    link.lost = null;
    link.refused = '';
    document.body.classList.remove('lost');
    on.figures(parse(data));
  };
  socket.onclose = () => {
    if (link.socket !== socket) return;
    link.socket = null;
    lose('connection lost', on);
    if (!isOpen) why(on);
    setTimeout(() => link.socket ?? begin(on), link.retry);
    link.retry = Math.min(link.retry * 2, 8000);
  };
}

/** A connection that has died in silence is told by nobody. */
function tick(on) {
  const now = performance.now();
  // This page slept, and does not know what came meanwhile.
  if (now - link.ticked > SILENT_MS) link.heard = now;
  link.ticked = now;
  const silent = now - link.heard;
  if (link.socket && silent >= SILENT_MS) lose(NO_ANSWER, on);
  on.tick();
  if (!link.socket || silent < DEAD_MS) return;
  const { socket } = link;
  link.socket = null;
  socket.close();
  begin(on);
}

/** Nothing is shown any more as if it came just now. */
function lose(words, on) {
  // Why it is not let in is known, and goes on until it is.
  if (!link.refused) link.lost = words;
  document.body.classList.add('lost');
  on.tick();
}

/** A socket that is refused tells a page nothing: the same address does, where it is asked without one. */
async function why(on) {
  try {
    const answer = await fetch('ws', { signal: AbortSignal.timeout(5000) });
    const is = { 401: 'not let in', 421: 'not let in', 503: 'no place free' }[answer.status];
    const words = (await answer.text()).trim();
    if (link.socket?.readyState === WebSocket.OPEN) return;
    link.refused = is ? words : '';
    link.lost = is ?? 'connection lost';
  } catch {
    // Nobody is there.
    link.refused = '';
  }
  on.tick();
}

/** Tells the receiver something. */
export function say(message) {
  if (link.socket?.readyState === WebSocket.OPEN) link.socket.send(JSON.stringify(message));
}

/** Looks at what is in sight, and at nothing while the page is paused or hidden. `again` says it although nothing changed. */
export function watch(again = false) {
  if (link.socket?.readyState !== WebSocket.OPEN) return;
  let ids = [];
  if (!page.paused && !document.hidden) {
    const seen = page.open ? (page.back ? [] : [page.open]) : [...sources.values()].filter((source) => source.inSight);
    ids = seen.filter((source) => !source.gone).slice(0, MOST_WATCHED).map((source) => source.id);
  }
  while (new TextEncoder().encode(JSON.stringify(ids)).length > LONGEST_MESSAGE) ids.pop();
  const wanted = JSON.stringify(ids);
  if (!again && wanted === link.watched) return;
  link.watched = wanted;
  for (const source of sources.values()) if (!ids.includes(source.id)) source.number = 0;
  say({ watch: ids });
}

/** How it is, from all that says so. */
function state() {
  const { now } = page;
  if (link.lost) return ['lost', link.lost];
  if (page.paused) return ['paused', 'paused'];
  if (!now) return ['connecting', 'connecting'];
  if (!now.ready) return ['lost', 'takes no frames'];
  if (now.sources.some((source) => source.state === 'live')) return ['live', 'live'];
  return ['waiting', now.sessions ? 'waiting for frames' : 'no sender'];
}

/** Says it. For how long nobody answers is for the eye: it would be read out each second. */
export function status() {
  const [is, text] = state();
  $('link').dataset.is = is;
  set($('link-is'), text);
  set($('link-more'), link.lost === NO_ANSWER ? silence() : '');
}
