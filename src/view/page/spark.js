// Latency of the last two minutes, as a line.

import { HISTORY, page } from './state.js';

const SVG = 'http://www.w3.org/2000/svg';
export function spark() {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'spark');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  return svg;
}

/** Draws the mean latency of each second; gives the top of the scale in ms, or 0 where there is nothing. */
export function plot(svg, source) {
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
