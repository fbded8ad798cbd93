// Buttons above, and keys.

import { nextPalette, nextRange } from './colour.js';
import { $ } from './dom.js';
import { close, follow, look, open, setPaused, step } from './one.js';
import { setReal } from './side.js';
import { keep, kept, page } from './state.js';

const pause = () => setPaused(!page.paused);

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

const KEYS = { ' ': pause, k: pause, p: nextPalette, t: theme, f: full, Escape: close, '?': help };

/** What does something to the source at full size, and nothing where there is none. */
const ONE = {
  r: nextRange,
  l: follow,
  z: () => setReal(!$('window').classList.contains('real')),
  ArrowLeft: () => step(false),
  ArrowRight: () => step(true),
  Home: () => look('share=0'),
};

/** Whether a key is a field's own: all of those that are written into, and those that move a slider. */
function isOfField(field, key) {
  if (!field || key === 'Escape') return false;
  return field.type !== 'range' || key.startsWith('Arrow') || key.startsWith('Page') || key === 'Home' || key === 'End';
}

addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || $('keys').open) return;
  if (isOfField(event.target.closest?.('input, select'), event.key)) return;
  if (event.key === ' ' && event.target.closest?.('button, a')) return;
  const number = Number(event.key);
  if (number >= 1 && number <= 9) {
    const card = $('grid').children[number - 1];
    if (card) { if (page.open) close(); open(card.source); }
    return;
  }
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const does = KEYS[key] ?? (page.open ? ONE[key] : undefined);
  if (!does) return;
  event.preventDefault();
  does();
});
