// The operator's page of a session: shows what the server says, sends what is pressed. It decides nothing.

import { drawBars, drawMap, drawPicture, drawStripe, drawTrace } from "./drawings.js";
import { ago, element, list, put, share } from "./elements.js";
import { Socket } from "./socket.js";

const KEYS = {
  Escape: "stop", Enter: "start", r: "rearm", y: "success", n: "failure", x: "discard", " ": "holds", e: "next", u: "undo",
  p: "park",
};
const SHOWN = {
  stop: "Esc", start: "Enter", rearm: "R", success: "Y", failure: "N", discard: "X", holds: "Space", next: "E", undo: "U",
  park: "P",
};
const FINER = 0.5; // how far − and + move the threshold, in log odds
const HELD_EVERY_MS = 100; // a held label is said again and again: let go of, it ends, also when the page dies
const NOTICE_MS = 5000;
const OLD_S = 0.3; // a picture older than this is marked
const $ = (id) => document.getElementById(id);
const buttons = Object.fromEntries([...document.querySelectorAll("[data-do]")].map((b) => [b.dataset.do, b]));
let state = null;
let noticeTimer = 0;

const socket = new Socket("/socket", { state: show, picture: showPicture, reply: (r) => notice(r.reply), link });

function show(news) {
  state = { ...news, progress: news.progress ?? state?.progress };
  showBanner(news.banner);
  showButtons();
  if (news.session) showSession(news.session, news.now_s);
  showCameras(news.pictures ?? [], news.now_s);
  if (news.progress) showProgress(news.progress);
  $("role").textContent = news.operates ? "this tab operates" : "this tab only looks; STOP works";
  $("take").hidden = news.operates;
}

function showBanner({ look, head, why, can }) {
  $("banner").dataset.look = look;
  put($("head"), head);
  put($("why"), why);
  put($("can"), can);
  document.title = `${head} · HIL-SERL`;
}

function link(there) {
  document.body.dataset.link = there;
  if (there) return;
  const why = "the session has ended, or its computer is away: look at its terminal";
  showBanner({ look: "lost", head: "NO CONNECTION", why, can: "the arm goes on without the page" });
  for (const button of Object.values(buttons)) button.disabled = true;
}

function showButtons() {
  const s = state.session;
  const is = s?.authority;
  const lives = s !== undefined && !s.ended && !["gone", "lost"].includes(state.banner.look);
  const mine = lives && state.operates;
  const words = { policy: "Pause", resetting: "Interrupt", parking: "Interrupt", parked: "Go on" };
  if (is === "holding" && s.running) words.holding = "Go on";
  const over = !s?.running && (s?.last ?? "") !== ""; // an episode, of which something can still be said
  const says = over ? { failure: "No success", discard: "Drop: hold" } : {};
  for (const [what, button] of Object.entries(buttons)) {
    if (what === "failure") button.dataset.word = s?.kind === "preview" ? "Wrong" : "Failure";
    let word = button.dataset.word ?? button.textContent.trim();
    button.dataset.word = word;
    if (what === "start") word = words[is] ?? word;
    word = says[what] ?? word;
    label(button, word, SHOWN[what], s?.glyphs[what === "rearm" && !s.glyphs.rearm ? "start" : what]);
  }
  buttons.stop.disabled = !lives;
  buttons.start.disabled = !mine || is === "human";
  buttons.start.hidden = is === "stopped";
  buttons.rearm.hidden = is !== "stopped";
  buttons.rearm.disabled = !mine;
  for (const what of ["success", "holds", "next"]) buttons[what].disabled = !mine || !s.running;
  buttons.failure.disabled = !mine || !(s.running || s.last === "success");
  buttons.discard.disabled = !mine || !(s.running || over);
  buttons.undo.disabled = !mine || !over;
  buttons.park.disabled = !mine || s.running || is !== "holding";
  for (const id of ["less", "more"]) {
    $(id).hidden = (s?.threshold ?? null) === null;
    $(id).disabled = !mine;
  }
  const labels = s?.kind === "labels"; // success does not end an episode there: it is held while it is true
  buttons.success.hidden = labels;
  buttons.holds.hidden = !labels;
}

function label(button, word, key, glyph) {
  const text = [word, key, glyph].join("|");
  if (button.dataset.shows === text) return;
  button.dataset.shows = text;
  const keys = document.createElement("span");
  keys.className = "keys";
  keys.append(element("kbd", key), " ", ...(glyph ? [element("span", glyph, "pad")] : []));
  button.replaceChildren(word, keys);
}

function showSession(s, now_s) {
  const done = s.sources.length;
  const seconds = (steps) => (steps / s.rate_hz).toFixed(1);
  const which = s.episode ? `${s.episode} of ${s.episodes} · ` : "";
  put($("clock"), `${s.kind} ${which}${seconds(done)} of ${seconds(s.limit_steps)} s`);
  const p = s.p_success.at(-1);
  const held = s.p_success.length - 1 - s.p_success.findLastIndex((v) => v === null || v < s.threshold);
  const next = s.threshold_next === null ? "" : `, next ${share(s.threshold_next)}`;
  const needs = s.threshold === null ? "your button decides" : `needs ${share(s.threshold)}${next}, held ${held} of ${s.hold}`;
  put($("threshold"), p === undefined || p === null ? needs : `p ${p.toFixed(2)} ${needs}`);
  drawTrace($("trace"), s);
  drawStripe($("stripe"), s);
  const events = s.events.map(([at_s, words]) => [ago(now_s - at_s), words]).reverse();
  list(document.querySelector("#events ol"), events, ([when, words]) => {
    const item = element("li");
    item.append(element("time", when), words);
    return item;
  });
  showHealth();
}

function showHealth() {
  const s = state.session;
  const lights = [...(state.progress?.lights ?? [])];
  if (s) {
    const late = `${s.rate_hz} Hz, ${(100 * s.late_share).toFixed(1)} % of the steps late`;
    const on = [s.deadman ? "you hold it" : "", s.success_held ? "success held" : "", s.note].filter(Boolean);
    lights.unshift(
      { name: "loop", look: s.late_share > 0.02 ? "unsure" : "good", words: late },
      { name: "device", look: s.connected ? "good" : "bad", words: s.connected ? on.join(", ") || "connected" : "gone" },
    );
    const found = s.findings.map(([what]) => what);
    if (found.length) lights.push({ name: "check", look: "unsure", words: `${found.join(", ")}: look at this` });
  }
  const scene = state.progress?.scene ?? [];
  const changed = scene.filter((light) => light.look !== "good").map(called);
  const seen = changed.length ? `${changed.join(", ")}: look at this` : [...new Set(scene.map((l) => l.words))].join("; ");
  if (scene.length) lights.push({ name: "scene", look: changed.length ? "unsure" : "good", words: seen });
  list(document.querySelector("#health ul"), lights, (light) => {
    const item = element("li", "", light.look);
    item.append(element("span", light.name, "quiet"), element("span", light.words));
    return item;
  });
}

function showProgress(progress) {
  showResume(progress.resume); // first: what is hidden has no size to draw in
  for (const [name, tile] of Object.entries(progress.tiles)) {
    const box = document.querySelector(`[data-tile=${name}]`);
    put(box.querySelector("b"), [tile.value, tile.trend].filter(Boolean).join(" "));
    put(box.querySelector("p"), tile.note);
  }
  drawBars($("bars"), progress.bars);
  const unusual = progress.scene.filter((light) => light.look !== "good").map((l) => `${called(l)}: ${l.words}`);
  unusual.push(...(state.session?.findings ?? []).map((finding) => finding.join(": ")));
  const { hints = [], place, coverage } = progress.guide;
  const advice = [...unusual, ...hints.map((hint) => hint.text)];
  $("coach").hidden = !advice.length && !coverage;
  $("coverage").hidden = !coverage;
  list($("advice"), advice, (words) => element("li", words));
  if (coverage) drawMap($("map"), coverage, place); // last: the words above decide how large it is
  put($("run"), progress.run);
  showHealth();
}

// What a resumed run goes on from, until its first episode begins; there is nothing to show of that one yet.
function showResume(card) {
  for (const id of ["episode", "history"]) $(id).hidden = Boolean(card);
  $("resume").hidden = !card;
  if (!card) return;
  put($("checkpoint"), card.checkpoint);
  const lines = { standing: card.standing, parts: card.parts, changes: card.changes.length ? card.changes : ["nothing"] };
  for (const [id, words] of Object.entries(lines)) list($(id), words, (w) => element("li", w));
  list($("instead"), card.next.flat(), (words, n) => {
    if (n % 2 === 0) return element("dt", words, "quiet");
    const line = element("dd");
    line.append(element("code", words));
    return line;
  });
}

function showCameras(pictures) {
  const box = $("cameras");
  while (box.children.length < pictures.length) {
    const figure = element("figure");
    const ghost = element("button", "ghost");
    ghost.title = "lay what it usually sees at a start over the picture";
    ghost.addEventListener("click", () => toggleGhost(figure));
    figure.append(document.createElement("canvas"), element("figcaption"), ghost);
    box.append(figure);
  }
  [...box.children].forEach((figure, number) => {
    const picture = pictures[number];
    const age_s = picture?.age_s ?? Infinity;
    figure.dataset.name = picture?.name ?? "";
    figure.querySelector("button").hidden = !state.progress?.scene.some((light) => light.name === picture?.name);
    figure.classList.toggle("old", age_s > OLD_S);
    const age = age_s === Infinity ? "no picture" : age_s > OLD_S ? `OLD: ${age_s.toFixed(1)} s` : `${Math.round(age_s * 1000)} ms`;
    put(figure.querySelector("figcaption"), `${picture?.name ?? "camera"} · ${age}`);
  });
}

async function showPicture(number, blob) {
  const canvas = document.querySelectorAll("#cameras canvas")[number];
  if (canvas) drawPicture(canvas, await createImageBitmap(blob), state.pictures?.[number]?.crop, ghosts[number]);
}

// The reference of the scene check over the live picture: a camera that was moved shows twice.
const ghosts = {};

function toggleGhost(figure) {
  const number = [...$("cameras").children].indexOf(figure);
  const shown = figure.querySelector("button").classList.toggle("down");
  if (!shown) return delete ghosts[number];
  ghosts[number] = new Image();
  ghosts[number].src = `/ghost/${figure.dataset.name}`;
}

function press(what) {
  if (buttons[what].disabled || buttons[what].hidden) return;
  if (!socket.send(what, { authority: state.session?.authority })) notice(`no connection: ${what} was not sent`);
}

function notice(words) {
  put($("notice"), words);
  $("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => ($("notice").hidden = true), NOTICE_MS);
}

// A press counts when the finger goes down; one that throws work away or re-arms has to be held.
const holding = {};

function down(what) {
  const hold_ms = Number(buttons[what].dataset.hold ?? 0);
  up(what);
  if (what === "holds") {
    press(what);
    holding[what] = setInterval(() => press(what), HELD_EVERY_MS);
  } else if (hold_ms) {
    holding[what] = setTimeout(() => (press(what), up(what)), hold_ms);
  } else {
    press(what);
    return;
  }
  buttons[what].classList.toggle("down", !buttons[what].disabled);
}

function up(what) {
  clearTimeout(holding[what]); // of an interval, too
  delete holding[what];
  buttons[what].classList.remove("down");
}

for (const [what, button] of Object.entries(buttons)) {
  button.style.setProperty("--hold", `${button.dataset.hold ?? 0}ms`);
  button.addEventListener("pointerdown", () => down(what));
  for (const end of ["pointerup", "pointerleave", "pointercancel"]) button.addEventListener(end, () => up(what));
  button.addEventListener("keydown", (event) => event.preventDefault()); // the keys below are all there is
}
for (const [id, sign] of [["less", -1], ["more", 1]]) {
  $(id).addEventListener("click", () => {
    const now = state.session.threshold_next ?? state.session.threshold;
    const threshold = 1 / (1 + Math.exp(-Math.log(now / (1 - now)) - sign * FINER));
    socket.send("threshold", { threshold: Number(threshold.toPrecision(3)), authority: state.session.authority });
  });
  $(id).addEventListener("keydown", (event) => event.preventDefault());
}
$("take").addEventListener("click", () => socket.send("take over"));
addEventListener("keydown", (event) => {
  const what = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!what || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  if (!event.repeat) down(what);
});
addEventListener("keyup", (event) => {
  const what = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (what) up(what);
});
addEventListener("resize", () => state?.progress && showProgress(state.progress));
addEventListener("blur", () => Object.keys(holding).forEach(up));

function called(light) {
  return light.name === "classifier" ? light.name : `${light.name} camera`;
}
