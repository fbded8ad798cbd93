// Palette and range, as they are chosen.

import { $, make, set } from './dom.js';
import { paint } from './paint.js';
import { PALETTES } from './picture.js';
import { fillColour } from './side.js';
import { keep, kept, page, settings, sources } from './state.js';
import { count } from './words.js';

function change(source, what) {
  kept.of[source.id] = { ...kept.of[source.id], ...what };
  keep();
  source.shown = null;
  paint(source);
  fillColour();
}

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

export function nextPalette() {
  const grey = page.open ? [page.open] : [...sources.values()].filter((source) => source.picture?.head.grey);
  if (!grey.length) return;
  const now = PALETTES.indexOf(settings(grey[0]).palette);
  let next = (now + 1) % PALETTES.length;
  if (next === 0 && grey.every((source) => source.picture?.values)) next = 1;
  for (const source of grey) change(source, { palette: PALETTES[next] });
}

export function nextRange() {
  if (!page.open) return;
  const modes = ['auto', 'full', 'fixed'];
  const mode = modes[(modes.indexOf(settings(page.open).mode) + 1) % modes.length];
  change(page.open, { mode, fixed: page.open.shown?.map(Math.round) });
}
