// The label page: everything that it shows comes from /api/labels, everything that changes goes through one request.

import { ask } from "./ask.js";
import { edgeAt, include, intervalEnd, intervalStart, toggle, without } from "./intervals.js";

const THUMBNAILS = 14;
const UNSURE = "unsure";
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const $ = (id) => document.getElementById(id);

let data = null; // what the server said
let at = 0; // episode
let frame = 0;
let label = "success"; // the one that keys and edges change
let drag = null; // {intervals, interval, edge} while an edge is moved; a copy, whatever the server answers meanwhile
const films = new Map(); // "uuid camera": Image

const episode = () => data.episodes[at];
const inside = (intervals, k) => intervals.some(([a, b]) => a <= k && k < b);

function film(uuid, camera) {
  const key = `${uuid} ${camera}`;
  if (!films.has(key)) {
    const image = new Image();
    image.onload = draw;
    image.src = `/api/film/${uuid}/${camera}.jpg${location.search}`;
    films.set(key, image);
  }
  return films.get(key);
}

function paint(canvas, camera, k) {
  const image = film(episode().uuid, camera);
  const side = data.size_px[camera];
  canvas.width = canvas.height = side;
  if (!image.complete || !image.naturalWidth) return;
  const x = (k % data.columns) * side;
  const y = Math.floor(k / data.columns) * side;
  canvas.getContext("2d").drawImage(image, x, y, side, side, 0, 0, side, side);
}

async function change(intervals, name = label) {
  episode().labels[name] = intervals;
  draw();
  replace(await ask("/api/label", { uuid: episode().uuid, label: name, intervals }));
}

function replace(fresh) {
  if (fresh) data.episodes[data.episodes.findIndex((e) => e.uuid === fresh.uuid)] = fresh;
  list();
  draw();
}

async function undo() {
  const from = at;
  const fresh = await ask("/api/undo", {});
  replace(fresh);
  if (fresh && at === from) go(data.episodes.findIndex((e) => e.uuid === fresh.uuid), frame); // else they have gone on
}

function go(place, k = 0) {
  at = Math.max(0, Math.min(data.episodes.length - 1, place));
  seek(k);
  list();
}

function seek(k) {
  frame = Math.max(0, Math.min(episode().frames - 1, k));
  draw();
}

function nextDisagreement() {
  const n = data.episodes.length;
  for (let step = 0; step <= n; step++) {
    const e = data.episodes[(at + step) % n];
    if (e.dropped) continue;
    const later = e.disagree.filter((k) => step > 0 || k > frame).sort((a, b) => a - b);
    if (later.length) return go((at + step) % n, later[0]);
  }
  $("notice").hidden = false;
  $("notice").textContent = data.classifier
    ? "No disagreement is left: person and classifier say the same in every frame."
    : "There is no classifier yet. Train one: hilserl classifier train";
}

const keys = {
  ArrowLeft: (e) => seek(frame - (e.shiftKey ? 10 : 1)),
  ArrowRight: (e) => seek(frame + (e.shiftKey ? 10 : 1)),
  ArrowUp: () => go(at - 1),
  ArrowDown: () => go(at + 1),
  i: () => change(intervalStart(episode().labels[label], frame, episode().frames)),
  o: () => change(intervalEnd(episode().labels[label], frame)),
  u: () => change(toggle(episode().labels[UNSURE], frame, 2, episode().frames), UNSURE),
  x: () => change(without(episode().labels[label], frame)),
  d: async () => replace(await ask("/api/drop", { uuid: episode().uuid })),
  z: undo,
  n: nextDisagreement,
};

addEventListener("keydown", (e) => {
  const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
  if (!data || e.ctrlKey || e.metaKey || !(key in keys)) return;
  e.preventDefault();
  keys[key](e);
});

for (const button of document.querySelectorAll("#keys button")) {
  button.onclick = (e) => keys[button.dataset.key](e);
}

const line = $("timeline");
const frameAt = (e) => {
  const box = line.getBoundingClientRect();
  return ((e.clientX - box.left) / box.width) * episode().frames;
};

line.onpointerdown = (e) => {
  const reach = (8 / line.getBoundingClientRect().width) * episode().frames;
  const intervals = episode().labels[label].map((interval) => [...interval]);
  const found = edgeAt(intervals, frameAt(e), reach);
  drag = found && { intervals, ...found };
  line.setPointerCapture(e.pointerId);
  if (!drag) seek(Math.floor(frameAt(e)));
};

line.onpointermove = (e) => {
  if (!line.hasPointerCapture(e.pointerId)) return;
  if (!drag) return seek(Math.floor(frameAt(e)));
  const edge = Math.max(0, Math.min(episode().frames, Math.round(frameAt(e))));
  drag.interval[drag.edge] = edge;
  seek(drag.edge === 0 ? edge : edge - 1);
};

line.onpointerup = () => {
  if (drag) {
    drag.interval.sort((a, b) => a - b);
    const moved = include(drag.intervals);
    drag = null;
    change(moved);
  }
};

function list() {
  $("episodes").replaceChildren(
    ...data.episodes.map((e, place) => {
      const item = document.createElement("li");
      item.className = `${place === at ? "here" : ""} ${e.dropped ? "dropped" : ""}`;
      const marks = `${e.edited ? " ✎" : ""}${e.disagree.length && !e.dropped ? ` ≠${e.disagree.length}` : ""}`;
      item.textContent = `${e.labels.success.length ? "✓" : "–"} ${e.index}${e.shows ? ` ${e.shows}` : ""}${marks}`;
      const mini = document.createElement("canvas");
      mini.className = "mini";
      mini.width = e.frames;
      mini.height = 1;
      const pen = mini.getContext("2d");
      pen.fillStyle = css("--back");
      pen.fillRect(0, 0, e.frames, 1);
      for (const [name, colour] of [["success", "--good"], [UNSURE, "--unsure"]]) {
        pen.fillStyle = css(colour);
        for (const [a, b] of e.labels[name]) pen.fillRect(a, 0, b - a, 1);
      }
      item.append(mini);
      item.onclick = () => go(place);
      return item;
    }),
  );
  document.querySelector("nav li.here")?.scrollIntoView({ block: "nearest" });
  const kept = data.episodes.filter((e) => !e.dropped);
  const marked = kept.filter((e) => e.labels.success.length).length;
  const frames = kept.flatMap((e) => e.labels.success.map(([a, b]) => b - a)).reduce((a, b) => a + b, 0);
  $("totals").textContent =
    `${kept.length} episodes: ${marked} with success (${frames} frames), ${kept.length - marked} without · ` +
    `edited ${data.episodes.filter((e) => e.edited).length} · dropped ${data.episodes.length - kept.length}`;
}

function draw() {
  const e = episode();
  const success = inside(e.labels.success, frame);
  const doubt = inside(e.labels[UNSURE], frame);
  $("title").textContent = `episode ${e.index}${e.dropped ? ", dropped" : ""}`;
  $("score").textContent = e.p ? `p(success) ${e.p[frame].toFixed(2)}` : "";
  $("where").textContent = `frame ${frame} / ${e.frames - 1} · ${(frame / data.rate_hz).toFixed(1)} s`;
  for (const canvas of document.querySelectorAll("#cameras canvas")) {
    paint(canvas, canvas.dataset.camera, frame);
    canvas.classList.toggle("on", success && !doubt);
    canvas.classList.toggle("doubt", doubt);
  }
  for (const [i, canvas] of [...$("thumbnails").children].entries()) {
    const k = Math.round((i * (e.frames - 1)) / (THUMBNAILS - 1));
    paint(canvas, data.cameras[0], k);
    canvas.classList.toggle("on", inside(e.labels.success, k));
    canvas.onclick = () => seek(k);
  }
  for (const button of $("names").children) button.classList.toggle("here", button.dataset.name === label);
  timeline(e);
}

function timeline(e) {
  const { width, height } = line.getBoundingClientRect();
  line.width = width * devicePixelRatio;
  line.height = height * devicePixelRatio;
  const pen = line.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const x = (k) => (k / e.frames) * width;
  const [bar, top] = [44, 56]; // the labels above, the model's opinion below
  pen.fillStyle = css("--back");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = css("--line");
  pen.fillRect(0, 4, width, bar - 8);
  const colour = { success: "--good", [UNSURE]: "--unsure" };
  const shown = [...new Set([label === UNSURE ? "success" : label, UNSURE])];
  for (const name of shown) {
    pen.fillStyle = css(colour[name] ?? "--human");
    for (const [a, b] of drag && name === label ? drag.intervals : e.labels[name]) {
      const [y, tall] = name === UNSURE ? [bar - 14, 10] : [4, bar - 8];
      pen.fillRect(x(a), y, x(b) - x(a), tall);
      if (name === label) {
        pen.fillStyle = css("--text");
        for (const edge of [a, b]) pen.fillRect(x(edge) - 2, 0, 4, bar);
        pen.fillStyle = css(colour[name] ?? "--human");
      }
    }
  }
  if (e.p) {
    const y = (p) => height - 4 - p * (height - top - 8);
    pen.fillStyle = css("--bad");
    for (let k = 0; k < e.frames; k++) {
      const wrong = e.p[k] >= data.threshold !== inside(e.labels.success, k);
      if (wrong && !inside(e.labels[UNSURE], k)) pen.fillRect(x(k), bar + 2, x(k + 1) - x(k) + 0.5, 6);
    }
    pen.strokeStyle = css("--quiet");
    pen.setLineDash([4, 4]);
    pen.strokeRect(-1, y(data.threshold), width + 2, 0);
    pen.setLineDash([]);
    pen.strokeStyle = css("--sky");
    pen.lineWidth = 2;
    pen.beginPath();
    e.p.forEach((p, k) => pen.lineTo(x(k + 0.5), y(p)));
    pen.stroke();
  }
  pen.fillStyle = css("--text");
  pen.fillRect(x(frame + 0.5) - 1, 0, 2, height);
}

data = await ask("/api/labels");
for (const camera of data.cameras) {
  const figure = document.createElement("figure");
  figure.innerHTML = `<canvas data-camera="${camera}"></canvas><figcaption class="quiet">${camera}</figcaption>`;
  $("cameras").append(figure);
}
for (let i = 0; i < THUMBNAILS; i++) $("thumbnails").append(document.createElement("canvas"));
for (const name of data.names) {
  const button = document.createElement("button");
  button.textContent = button.dataset.name = name;
  button.onclick = () => {
    label = name;
    draw();
  };
  $("names").append(button);
}
$("classifier").textContent = data.classifier ? `classifier ${data.classifier}` : "no classifier yet";
addEventListener("resize", draw);
go(0);
