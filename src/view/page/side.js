// What stands around the picture of a source at full size, and over it.

import { $, facts, make, set } from './dom.js';
import { STATES, receipts } from './grid.js';
import { lost } from './link.js';
import { PALETTES, probe, table } from './picture.js';
import { plot } from './spark.js';
import { QUIET_MS, age, page, settings } from './state.js';
import { address, ago, clock, count, rate, share, size, time } from './words.js';

/** Fills in the figures of the source at full size. */
export function fillOne() {
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
  fillOld();
}

/** Says what is known of the frame that was just drawn. */
export function afterLarge(source) {
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
  if (pointer) point(pointer);
}

/** Whether a picture's levels are spread over a range: grey ones, and 16-bit values of colour. */
const hasRange = (source) => Boolean(source.picture?.head.grey || source.picture?.values);

/** What says in the picture itself that it is not of now: it may be all that is in sight. */
function fillOld() {
  const source = page.open;
  if (!source) return;
  const old = age(source);
  const words = page.back
    ? [document.fullscreenElement && source.picture && `from the store: ${clock(source.picture.head.captured_ms ?? source.picture.head.stored_ms)}`]
    : [old > QUIET_MS && `${ago(old)} ago`, lost(), !lost() && source.gone && 'not at this receiver now', page.paused && 'paused',
      document.fullscreenElement && !lost() && page.now && !page.now.ready && page.now.trouble];
  set($('one-old'), words.filter(Boolean).join(' · '));
}

/** Fills in the palette and the range of the source at full size. */
export function fillColour() {
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

/** Takes the picture away from a source at full size: nothing of another frame stays beside these words. */
export function blank(words) {
  const canvas = $('large');
  canvas.width = canvas.height = 1;
  $('probe').hidden = true;
  set($('one-empty'), words);
  $('one-empty').hidden = false;
}

// ---- the value under the pointer

let pointer = null;

/** Shows the value under the pointer. */
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

/** One pixel for one pixel, or as large as it fits. */
export function setReal(real) {
  $('window').classList.toggle('real', real);
  $('fit').setAttribute('aria-pressed', String(real));
}

$('window').addEventListener('pointermove', (event) => { pointer = { clientX: event.clientX, clientY: event.clientY }; point(event); });
$('window').addEventListener('pointerleave', () => { pointer = null; $('probe').hidden = true; });
