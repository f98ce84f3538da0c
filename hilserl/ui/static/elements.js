// Small things that every part of the page needs.

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function element(name, text = "", look = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (look) made.className = look;
  return made;
}

export function list(box, rows, make) {
  const text = JSON.stringify(rows);
  if (box.dataset.shows === text) return;
  box.dataset.shows = text;
  box.replaceChildren(...rows.map(make));
}

// A probability, with as many digits as it takes to tell it from 0 and 1.
export function share(p) {
  return p.toFixed(Math.min(4, Math.max(2, Math.ceil(-Math.log10(Math.min(p, 1 - p))))));
}

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}
