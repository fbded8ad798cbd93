// What the page knows: the sources, what it shows of them, and the settings that this browser keeps.

import { PALETTES } from './picture.js';

/** Seconds of history that are drawn. */
export const HISTORY = 120;

/** Nothing for so long is said. */
export const QUIET_MS = 5000;

/** Sources by id: figures, history, the frame on show, and their cards. */
export const sources = new Map();

/** `now`: the last figures; `open`: the source at full size; `back`: where somebody looks back; `wish`: the address of a source to open. */
export const page = { now: null, paused: false, open: null, back: null, wish: null, skew: 0 };

/** How old the picture of a source is that is on show, by the receiver's clock. */
export function age(source) {
  const shown = source.picture?.head.stored_ms ?? (source.figures.newest ? source.figures.newest.stored_unix_ns / 1e6 : null);
  return shown == null ? null : Date.now() - page.skew - shown;
}

export const kept = (() => {
  try { return JSON.parse(localStorage.getItem('framelane')) ?? {}; } catch { return {}; }
})();
kept.of ??= {};
export function keep() {
  try { localStorage.setItem('framelane', JSON.stringify(kept)); } catch { /* it goes without */ }
}
export function settings(source) {
  const own = kept.of[source.id] ?? {};
  const isRaw = source.picture?.values != null && source.picture.channels === 1;
  const palette = own.palette ?? (isRaw ? 'iron' : PALETTES[0]);
  return { palette: isRaw && palette === PALETTES[0] ? 'white-hot' : palette, mode: own.mode ?? 'auto', fixed: own.fixed };
}
