// The page of a receiver's view: one WebSocket for all sources, the newest frame of each, and the store to look back.

import './keys.js';
import { $, set } from './dom.js';
import { arrange, build, fill, showAge } from './grid.js';
import { connect, refused, status, watch } from './link.js';
import { drop, open, openByHash } from './one.js';
import { arrived, paint } from './paint.js';
import { fillOne } from './side.js';
import { HISTORY, page, sources } from './state.js';
import { count, rate } from './words.js';

function figures(now) {
  page.skew = Date.now() - now.at_unix_ns / 1e6;
  page.now = now;
  const ids = new Set(now.sources.map((source) => source.id));
  let moved = false;
  for (const [id, source] of sources) {
    if (ids.has(id)) continue;
    if (page.open === source) leave(source);
    else drop(source);
  }
  for (const figures of now.sources) {
    let source = sources.get(figures.id);
    if (!source) {
      source = { id: figures.id, history: new Map(), picture: null, number: 0, inSight: false };
      sources.set(figures.id, source);
      build(source, open);
      moved = true;
    }
    // What it shows then counts from the first again.
    if (source.gone) Object.assign(source, { gone: false, number: 0 });
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
  $('empty').hidden = all.length > 0 || page.open != null;
  if (page.wish) openByHash();
  tick();
  watch();
}

/** A source at full size that the receiver does not name any more: it may come back, and is shown again then. */
function leave(source) {
  const none = { frames_per_s: 0, bytes_per_s: 0, latency: null, rtt_ms: null, loss: null, repair: null, pending: null, lag_s: null,
    held: null, sent: 0, dropped: 0, missing: 0, refused: 0, repaired: 0 };
  source.gone = true;
  source.figures = { ...source.figures, ...none, state: 'away', senders: [] };
  fill(source);
}

/** What is so whether figures come or not: how the connection is, and how old each picture. */
function tick() {
  for (const source of sources.values()) showAge(source);
  if (page.open) fillOne();
  const { now } = page;
  if (refused()) trouble(`${refused()}; this page goes on trying`, true);
  else trouble(now?.trouble, !now?.ready);
  status();
}

/** What is wrong, above everything. What is read out has no figures: those change all the time. */
function trouble(words, isBad) {
  const place = $('trouble');
  const text = words ? `${words[0].toUpperCase()}${words.slice(1)}${words.endsWith('.') ? '' : '.'}` : '';
  place.hidden = !text;
  place.dataset.is = isBad ? 'not' : 'low';
  set(place, text);
  set($('trouble-said'), text.replace(/\([0-9.,]+ %\) |[0-9][0-9.,]*( ([kMGT]?B|%))?/g, '').replace(/ +/g, ' '));
}

function remember(source, seconds, now) {
  for (const second of seconds) source.history.set(second.at, second);
  for (const at of source.history.keys()) if (at < now - HISTORY - 1) source.history.delete(at);
}

addEventListener('resize', () => { arrange(); for (const source of sources.values()) if (source.inSight) paint(source); });
addEventListener('hashchange', () => { page.wish = location.hash; if (sources.size) openByHash(); });
document.addEventListener('visibilitychange', () => watch());
document.addEventListener('fullscreenchange', tick);
page.wish = location.hash || null;
connect({ figures, frame: arrived, tick });
