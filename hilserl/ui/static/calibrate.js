// The calibration page: try a threshold, keep it, and decide about the frames on which classifier and person disagree.

import { ask } from "./ask.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const $ = (id) => document.getElementById(id);
const logit = (p) => Math.log(p / (1 - p));
const [LOW, HIGH] = [-6, 9];
const kept = new Set(); // mistakes of which the person says that the label is right

let data = null;

async function update(path, body) {
  const said = await ask(path, body);
  if (said) data = { ...data, ...said };
  draw();
  return said !== null;
}

function big(id, value, below, good) {
  const panel = $(id);
  panel.querySelector("b").textContent = value;
  panel.querySelector("span").textContent = below;
  panel.classList.toggle("good", good);
  panel.classList.toggle("bad", !good);
}

function draw() {
  const delays = [...data.delays_s].sort((a, b) => a - b);
  const median = delays.length ? delays[Math.floor(delays.length / 2)] : null;
  big("false", data.false, `in ${data.episodes} held-out episodes`, data.false === 0);
  big("missed", data.missed, `of ${data.successes}`, data.missed <= data.successes / 20);
  big("delay", median === null ? "–" : `${median.toFixed(1)} s`, `longest ${(delays.at(-1) ?? 0).toFixed(1)} s`, median !== null && median <= 0.5);
  $("said").textContent = data.threshold.toFixed(3);
  $("hold").value = data.hold;
  $("keep").disabled = data.threshold === data.kept.threshold && data.hold === data.kept.hold;
  $("version").textContent = `classifier ${data.version}${data.gates.length ? ` · only with ${data.gates.join(", ")}` : ""}`;
  $("warnings").replaceChildren(...data.warnings.map((words) => Object.assign(document.createElement("li"), { textContent: `⚠ ${words}` })));
  curve();
}

function curve() {
  const canvas = $("curve");
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  const top = Math.max(4, data.successes, ...data.curve.false);
  const x = (t) => ((t - LOW) / (HIGH - LOW)) * width;
  const y = (n) => height - 24 - (n / top) * (height - 34);
  pen.fillStyle = css("--back");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = css("--quiet");
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "center";
  for (const p of [0.01, 0.1, 0.5, 0.9, 0.99, 0.999]) {
    pen.fillText(p, x(logit(p)), height - 6);
    pen.fillRect(x(logit(p)), height - 22, 1, 4);
  }
  for (const [name, colour] of [["false", "--bad"], ["missed", "--sky"]]) {
    pen.strokeStyle = css(colour);
    pen.lineWidth = 3;
    pen.beginPath();
    data.curve.threshold.forEach((t, i) => pen.lineTo(x(logit(t)), y(data.curve[name][i])));
    pen.stroke();
  }
  pen.fillStyle = css("--text");
  pen.fillRect(x(logit(data.threshold)) - 1.5, 0, 3, height - 20);
}

const canvas = $("curve");
const at = (e) => {
  const box = canvas.getBoundingClientRect();
  const t = LOW + ((e.clientX - box.left) / box.width) * (HIGH - LOW);
  return 1 / (1 + Math.exp(-Math.max(LOW, Math.min(HIGH, t))));
};
canvas.onpointerdown = (e) => {
  canvas.setPointerCapture(e.pointerId);
  canvas.onpointermove(e);
};
canvas.onpointermove = (e) => {
  if (!canvas.hasPointerCapture(e.pointerId)) return;
  data.threshold = at(e);
  draw();
};
canvas.onpointerup = () => update("/api/try", { threshold: data.threshold, hold: data.hold });
$("hold").onchange = () => update("/api/try", { threshold: data.threshold, hold: Number($("hold").value) });
$("keep").onclick = () => update("/api/keep", { threshold: data.threshold, hold: data.hold });

async function decide(m, verdict) {
  if (verdict === "keep") kept.add(`${m.uuid} ${m.frame}`);
  if (await update("/api/decide", { uuid: m.uuid, frame: m.frame, verdict })) grid();
}

function grid() {
  $("mistakes").replaceChildren(
    ...data.mistakes.map((m) => {
      const item = document.createElement("li");
      item.className = kept.has(`${m.uuid} ${m.frame}`) ? "kept" : "";
      const pictures = document.createElement("div");
      pictures.className = "pictures";
      for (const camera of data.cameras) {
        const side = data.size_px[camera];
        const picture = document.createElement("canvas");
        picture.width = picture.height = side;
        const image = new Image();
        image.onload = () => {
          const [column, row] = [m.frame % data.columns, Math.floor(m.frame / data.columns)];
          picture.getContext("2d").drawImage(image, column * side, row * side, side, side, 0, 0, side, side);
        };
        image.src = `/api/film/${m.uuid}/${camera}.jpg${location.search}`;
        pictures.append(picture);
      }
      const words = document.createElement("p");
      words.textContent = `${m.marked ? "you: success" : "you: not success"} · it: p ${m.probability.toFixed(3)}`;
      item.append(pictures, words);
      for (const [verdict, says] of [["relabel", "it is right"], ["keep", "I am right"], ["ambiguous", "unclear"]]) {
        const button = Object.assign(document.createElement("button"), { textContent: says });
        button.onclick = () => decide(m, verdict);
        item.append(button, " ");
      }
      return item;
    }),
  );
  if (!data.mistakes.length) $("mistakes").textContent = "None: they agree in every frame that is sure.";
}

if (await update("/api/calibration")) grid();
addEventListener("resize", draw);
