// One source at full size, as it comes or out of the store.

import { $, facts, set } from './dom.js';
import { arrange, nothing } from './grid.js';
import { status, watch } from './link.js';
import { paint, show } from './paint.js';
import { parse, read } from './picture.js';
import { blank, fillColour, fillOne, setReal } from './side.js';
import { page, sources } from './state.js';
import { address, count } from './words.js';

/** Opens a source at full size. */
export function open(source) {
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
  watch(true);
  // Nothing comes by itself while the page is paused.
  if (page.paused && !source.picture) look('share=1');
  $('window').focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

/** Back to all sources. */
export function close() {
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
  else paint(source);
  watch(true);
  if (source.gone) drop(source);
  else source.parts.picture.focus();
}

/** A source that the receiver does not name any more. */
export function drop(source) {
  source.card.remove();
  sources.delete(source.id);
  arrange();
}

/** Leaves the picture as it is, or goes on. */
export function setPaused(paused) {
  page.paused = paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  set($('pause').querySelector('span'), paused ? 'Go on' : 'Pause');
  status();
  watch();
  if (page.open) fillOne();
}

/** Opens the source that the address names, once it is there. */
export function openByHash() {
  const source = [...sources.values()].find((source) => `#${address(source.id)}` === page.wish);
  if (source) open(source);
}

// ---- looking back

const asks = { next: null, busy: false };
let dragging = false;

/** Shows a stored frame; of several that are asked for while one is on its way, the last. */
export async function look(query) {
  const source = page.open;
  if (!source) return;
  asks.next = query;
  if (asks.busy) return;
  asks.busy = true;
  try {
    while (asks.next && page.open === source) {
      const asked = asks.next;
      asks.next = null;
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
      if (!dragging) $('scrub').value = Math.round(found.share * $('scrub').max);
      fillOne();
    }
  } catch {
    if (page.open === source) set($('one-when'), 'the store cannot be read');
  } finally {
    asks.busy = false;
    // Asked of a source that was opened meanwhile.
    if (asks.next && page.open && page.open !== source) look(asks.next);
  }
}

/** The frame before the one on show, or the one behind it. */
export function step(forward) {
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

/** Back to what comes. */
export function follow() {
  page.back = asks.next = null;
  $('scrub').value = $('scrub').max;
  if (page.paused) setPaused(false);
  watch();
  fillOne();
}

$('scrub').addEventListener('input', ({ target }) => { dragging = true; look(`share=${target.value / target.max}`); });
$('scrub').addEventListener('change', () => { dragging = false; });
// Who moved the slider by hand has done so: keys mean what they mean elsewhere. Reached by the keyboard, it has its own.
for (const done of ['pointerup', 'pointercancel']) addEventListener(done, () => document.activeElement === $('scrub') && $('scrub').blur());
$('earlier').addEventListener('click', () => step(false));
$('later').addEventListener('click', () => step(true));
$('live').addEventListener('click', follow);
$('back').addEventListener('click', close);
$('fit').addEventListener('click', () => setReal(!$('window').classList.contains('real')));
