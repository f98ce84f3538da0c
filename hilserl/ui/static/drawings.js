// What is drawn rather than written. Colours are those of the style sheet.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const DRIVER = { p: "policy", h: "human", "-": "line" };
const OUTCOME = { success: ["good", "✓"], failure: ["bad", "×"], timeout: ["quiet", "–"] };

// Return the context of a canvas that is as sharp as the screen, cleared, and its size in CSS pixels.
function begin(canvas) {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  return [c, width, height];
}

// p(success) over the episode, and the threshold that it has to reach.
export function drawTrace(canvas, s) {
  const [c, width, height] = begin(canvas);
  const x = (step) => (step / Math.max(1, s.limit_steps)) * width;
  const y = (p) => 4 + (1 - p) * (height - 8);
  c.strokeStyle = colour("line");
  c.lineWidth = 1;
  for (const p of [0, 0.5, 1]) line(c, [[0, y(p)], [width, y(p)]]);
  if (s.threshold !== null) {
    c.strokeStyle = colour("good");
    c.lineWidth = 2;
    c.setLineDash([8, 6]);
    line(c, [[0, y(s.threshold)], [width, y(s.threshold)]]);
    c.setLineDash([2, 8]); // what it will be in the next episode
    if (s.threshold_next !== null) line(c, [[0, y(s.threshold_next)], [width, y(s.threshold_next)]]);
    c.setLineDash([]);
  }
  c.strokeStyle = colour("text");
  c.lineWidth = 2.5;
  line(c, s.p_success.flatMap((p, step) => (p === null ? [] : [[x(step + 1), y(p)]])));
}

// Who drove, a piece per step.
export function drawStripe(canvas, s) {
  const [c, width, height] = begin(canvas);
  const step = width / Math.max(1, s.limit_steps);
  c.fillStyle = colour("back");
  c.fillRect(0, 0, width, height);
  [...s.sources].forEach((who, n) => {
    c.fillStyle = colour(DRIVER[who]);
    c.fillRect(n * step, 0, step + 0.5, height);
  });
}

// The last episodes: height is length, the orange part is what the person drove, a sign says how it ended.
export function drawBars(canvas, bars) {
  const [c, width, height] = begin(canvas);
  const [slots, sign] = [40, 16];
  const longest = Math.max(1, ...bars.map((b) => b.steps));
  const pitch = width / slots;
  c.font = "600 12px system-ui, sans-serif";
  c.textAlign = "center";
  bars.forEach((bar, n) => {
    const [look, mark] = OUTCOME[bar.outcome] ?? ["quiet", "?"];
    const full = (bar.steps / longest) * (height - sign);
    const human = full * (bar.human / bar.steps);
    const left = (slots - bars.length + n) * pitch + 1;
    c.fillStyle = colour(look);
    c.fillRect(left, height - sign - full, pitch - 2, full - human);
    c.fillStyle = colour("human");
    c.fillRect(left, height - sign - human, pitch - 2, human);
    c.fillStyle = colour(look === "quiet" ? "quiet" : "text");
    c.fillText(mark, left + pitch / 2 - 1, height - 3);
  });
}

// Cells of the table as seen from behind the arm (x away from it is up, y left), or of a picture; `place` in metres.
export function drawMap(canvas, coverage, place) {
  const [c, width, height] = begin(canvas);
  const { of, low, high, tries, wins } = coverage;
  const inPicture = of === "picture";
  const [columns, rows] = inPicture ? [tries.length, tries[0].length] : [tries[0].length, tries.length];
  const [w, h] = [width / columns, height / rows];
  c.font = "600 13px system-ui, sans-serif";
  c.textAlign = "center";
  c.textBaseline = "middle";
  tries.forEach((line_, i) =>
    line_.forEach((n, j) => {
      const [column, row] = inPicture ? [i, j] : [columns - 1 - j, rows - 1 - i];
      c.fillStyle = colour(n === 0 ? "back" : 2 * wins[i][j] >= n ? "good" : "bad");
      c.fillRect(column * w + 1, row * h + 1, w - 2, h - 2);
      c.fillStyle = colour(n === 0 ? "quiet" : "text");
      c.fillText(n === 0 ? "–" : `${wins[i][j]}/${n}`, (column + 0.5) * w, (row + 0.5) * h);
    }),
  );
  if (!place || of !== "object") return;
  const share = (value, axis) => Math.min(1, Math.max(0, (value - low[axis]) / (high[axis] - low[axis])));
  c.strokeStyle = colour("text");
  c.lineWidth = 3;
  c.beginPath();
  c.arc((1 - share(place.y_m, 1)) * width, (1 - share(place.x_m, 0)) * height, 9, 0, 2 * Math.PI);
  c.stroke();
}

// A camera's picture, and in it what policy and classifier see: [top, left, height, width] as shares.
// `ghost` is an image of the crop to lay over it, half transparent.
export function drawPicture(canvas, bitmap, crop, ghost) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.style.aspectRatio = `${bitmap.width} / ${bitmap.height}`;
  }
  const c = canvas.getContext("2d");
  c.drawImage(bitmap, 0, 0);
  bitmap.close();
  canvas.dataset.frames = Number(canvas.dataset.frames ?? 0) + 1;
  if (!crop) return;
  const [top, left, height, width] = crop;
  if (ghost?.naturalWidth) {
    c.globalAlpha = 0.5;
    c.drawImage(ghost, left * canvas.width, top * canvas.height, width * canvas.width, height * canvas.height);
    c.globalAlpha = 1;
  }
  c.strokeStyle = "rgb(255 255 255 / 70%)";
  c.lineWidth = 1;
  c.setLineDash([4, 4]);
  c.strokeRect(left * canvas.width + 0.5, top * canvas.height + 0.5, width * canvas.width - 1, height * canvas.height - 1);
}

function line(c, points) {
  c.beginPath();
  for (const [x, y] of points) c.lineTo(x, y);
  c.stroke();
}
