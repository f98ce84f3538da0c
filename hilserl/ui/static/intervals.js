// Half-open intervals [a, b) of frames, sorted and disjoint, as in data/labels.py. Nothing here changes its arguments.

// The intervals with these included, merged where they touch.
export function include(intervals, ...more) {
  const merged = [];
  for (const [a, b] of [...intervals, ...more].filter(([a, b]) => a < b).sort((p, q) => p[0] - q[0])) {
    const last = merged.at(-1);
    if (last && a <= last[1]) last[1] = Math.max(last[1], b);
    else merged.push([a, b]);
  }
  return merged;
}

// The interval around or after `frame` begins there; a new one lasts to the end.
export function intervalStart(intervals, frame, frames) {
  const next = intervals.findIndex(([, b]) => frame < b);
  if (next < 0) return include(intervals, [frame, frames]);
  return include(intervals.map(([a, b], i) => (i === next ? [frame, b] : [a, b])));
}

// The interval around or before `frame` ends with it; a new one begins with the episode.
export function intervalEnd(intervals, frame) {
  const before = intervals.findLastIndex(([a]) => a <= frame);
  if (before < 0) return include(intervals, [0, frame + 1]);
  return include(intervals.map(([a, b], i) => (i === before ? [a, frame + 1] : [a, b])));
}

// Without the interval around `frame`.
export function without(intervals, frame) {
  return intervals.filter(([a, b]) => !(a <= frame && frame < b));
}

// Without the interval around `frame`, or with one that reaches `margin` frames to either side.
export function toggle(intervals, frame, margin, frames) {
  const fewer = without(intervals, frame);
  if (fewer.length < intervals.length) return fewer;
  return include(intervals, [Math.max(0, frame - margin), Math.min(frames, frame + margin + 1)]);
}

// The edge nearest to a place, within `reach` frames: {interval, edge}, or null.
export function edgeAt(intervals, place, reach) {
  let best = null;
  for (const interval of intervals) {
    for (const edge of [0, 1]) {
      const off = Math.abs(interval[edge] - place);
      if (off <= reach && (!best || off < best.off)) best = { interval, edge, off };
    }
  }
  return best;
}
