// Small things that are done to elements.

export const $ = (id) => document.getElementById(id);
export const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function unit(element, value, words) {
  const text = `${value}|${words}`;
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  element.replaceChildren(make('b', {}, value), ' ', make('small', {}, words));
}

export function facts(list, entries) {
  const text = JSON.stringify(entries);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...entries.map(([name, value, is]) => make('div', {}, make('dt', {}, name), make('dd', is ? { class: is } : {}, value))));
}
