// The set-up page: drag a crop, move the arm by hand and say what is a corner, keep the task.

import { ask } from "./ask.js";
import { element, list, put } from "./elements.js";

const PICTURE_MS = 150; // between two pictures of a camera
const HAND_MS = 200; // between two looks at the arm
const $ = (id) => document.getElementById(id);
const mm = (m) => Math.round(1000 * m);
const dragged = {}; // camera: the crop that is being drawn, [top, left, height, width] as shares
let task = await ask("/api/setup");

async function change(name, body = {}) {
  const found = await ask(`/api/${name}`, body);
  if (found) task = found;
  show();
}

function show() {
  while ($("cameras").children.length < task.cameras.length) addCamera(task.cameras[$("cameras").children.length].name);
  for (const camera of task.cameras) {
    const coarse = camera.side_px < camera.size_px ? ", fewer than the model's: take a larger one" : "";
    put(document.querySelector(`[data-camera=${camera.name}] .size`), `${camera.side_px} px square${coarse}`);
  }
  put($("missing"), task.missing.length ? `not open, and not changed: ${task.missing.join(", ")}` : "");
  const [low, high] = task.workspace_m;
  const rows = ["forward", "to its left", "up"].map((axis, n) => [axis, mm(low[n]), mm(high[n]), mm(high[n] - low[n])]);
  list($("box"), [["mm", "from", "to", "wide"], ...rows], (cells, n) => {
    const row = element("tr");
    row.append(...cells.map((cell) => element(n === 0 ? "th" : "td", String(cell))));
    return row;
  });
  for (const which of ["one", "opposite"]) $(which).classList.toggle("down", which in task.corners);
  const [from, to] = task.start_m;
  const around = from.map((value, n) => `${mm((value + to[n]) / 2)} ± ${mm((to[n] - value) / 2)}`);
  put($("starts"), `starts at ${around.join(", ")} mm`);
  list($("problems"), task.problems, (words) => element("li", words));
  $("save").disabled = task.problems.length > 0 || task.flags !== "";
  $("kept").hidden = task.flags === "";
  put($("flags"), task.flags);
}

function addCamera(name) {
  const figure = element("figure");
  figure.dataset.camera = name;
  const canvas = document.createElement("canvas");
  const caption = element("figcaption");
  caption.append(element("span", name), element("span", "", "size quiet"));
  figure.append(canvas, caption);
  $("cameras").append(figure);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.from = place(canvas, event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (canvas.hasPointerCapture(event.pointerId)) dragged[name] = square(canvas, canvas.from, place(canvas, event));
  });
  canvas.addEventListener("pointerup", async () => {
    if (dragged[name]) await change("crop", { camera: name, crop: dragged[name] });
    delete dragged[name];
  });
  live(name, canvas);
}

// Where a pointer is, in pixels of the camera.
function place(canvas, event) {
  const box = canvas.getBoundingClientRect();
  const share = (at, low, size) => Math.min(1, Math.max(0, (at - low) / size));
  return [share(event.clientX, box.left, box.width) * canvas.width, share(event.clientY, box.top, box.height) * canvas.height];
}

// The square that a drag spans, as large as fits into the picture, in whole pixels.
function square(canvas, [x0, y0], [x1, y1]) {
  const room = [x1 < x0 ? x0 : canvas.width - x0, y1 < y0 ? y0 : canvas.height - y0];
  const side = Math.max(1, Math.round(Math.min(Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0)), ...room)));
  const [left, top] = [Math.round(x1 < x0 ? x0 - side : x0), Math.round(y1 < y0 ? y0 - side : y0)];
  return [Math.max(0, top) / canvas.height, Math.max(0, left) / canvas.width, side / canvas.height, side / canvas.width];
}

async function live(name, canvas) {
  for (;;) {
    try {
      const answer = await fetch(`/api/picture/${name}.jpg${location.search}`);
      if (answer.ok) draw(canvas, await createImageBitmap(await answer.blob()), name);
    } catch {
      put($("notice"), "no connection: the command has ended, or its computer is away");
      $("notice").hidden = false;
    }
    await new Promise((done) => setTimeout(done, PICTURE_MS));
  }
}

function draw(canvas, bitmap, name) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  const c = canvas.getContext("2d");
  c.drawImage(bitmap, 0, 0);
  const [top, left, height, width] = dragged[name] ?? task.cameras.find((camera) => camera.name === name).crop;
  const box = [left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height];
  c.fillStyle = "rgb(0 0 0 / 60%)";
  c.fillRect(0, 0, canvas.width, canvas.height);
  c.drawImage(bitmap, ...box, ...box);
  bitmap.close();
  c.strokeStyle = "#fff";
  c.lineWidth = canvas.width / 200;
  c.strokeRect(...box);
}

async function watchHand() {
  for (;;) {
    try {
      const { hand_m, limp, error } = await (await fetch(`/api/hand${location.search}`)).json();
      if (hand_m) put($("hand"), ["x", "y", "z"].map((axis, n) => `${axis} ${mm(hand_m[n])}`).join("   "));
      $("limp").className = limp ? "moves" : "holds";
      const holds = "it holds its pose: to move it by hand, end this (Ctrl-C), begin again, and answer yes";
      put($("limp"), error ?? (limp ? "limp: move it by hand" : holds));
      for (const id of ["one", "opposite", "start"]) $(id).disabled = Boolean(error);
    } catch {
      // the pictures say it
    }
    await new Promise((done) => setTimeout(done, HAND_MS));
  }
}

for (const which of ["one", "opposite"]) $(which).addEventListener("click", () => change("corner", { which }));
for (const id of ["start", "save"]) $(id).addEventListener("click", () => change(id));
show();
watchHand();
