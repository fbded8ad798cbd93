// Frames that have come, and how they are drawn.

import { $ } from './dom.js';
import { UNSHOWN, arrange } from './grid.js';
import { current, say } from './link.js';
import { PALETTES, decode, draw, range, read, toGrey } from './picture.js';
import { afterLarge, blank } from './side.js';
import { page, settings, sources } from './state.js';

/** Takes a frame that has come. */
export async function arrived(buffer) {
  const frame = { ...read(buffer), by: current() };
  const source = sources.get(frame.head.source);
  if (source) await show(source, frame);
  // The next one is sent when this one is shown.
  say({ seen: frame.head.source, number: frame.head.number });
}

/** Shows a frame, where it has not been overtaken. */
export async function show(source, frame, stored = false) {
  let picture = null;
  try {
    picture = await decode(frame, settings(source).palette !== PALETTES[0]);
  } catch { /* it is told below */ }
  // What was on its way when the page was paused, or while somebody looks back, takes no place; nor does a frame that is
  // decoded after a newer one, or after the connection that it came by.
  const isOld = () => frame.by !== current() || frame.head.number < source.number;
  if (!stored && (page.paused || (page.open === source && page.back) || isOld())) {
    picture?.bitmap?.close();
    return;
  }
  source.picture?.bitmap?.close();
  source.picture = picture ?? { head: { ...frame.head, form: 'none' }, width: 0, height: 0 };
  source.number = frame.head.number;
  paint(source);
}

/** Draws the picture of a source: on its card, or at full size. */
export function paint(source) {
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
