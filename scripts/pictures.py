"""The README's pictures from a finished demo: `uv run python scripts/pictures.py runs/demo`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

from data.schema import Episode
from data.store.episode_store import EpisodeStore
from hilserl.ui.attempts import read_truth

DOCS = Path(__file__).resolve().parent.parent / "docs"
FRAMES, SIDE_PX, GAP_PX = 8, 168, 4


def main() -> None:
    """Copy the plot and draw a film strip: the same start before and after training."""
    run = Path(sys.argv[1])
    shutil.copy(run / "progress.png", DOCS / "progress.png")
    store, truth = EpisodeStore.reader(run / "store"), read_truth(run / "rig" / "truth.jsonl")
    before, after = store.commits("eval-before"), store.commits("eval-after")
    pairs = zip(before, after, strict=True)
    heights = read_heights(run / "rig" / "truth.jsonl")
    learned = ((b, a) for b, a in pairs if truth[a.uuid] and not truth[b.uuid])
    failed, succeeded = min(learned, key=lambda pair: heights[pair[0].uuid])  # a failure that anybody can see
    strip = np.vstack([rows(store.read(failed), "before"), rows(store.read(succeeded), "after")])
    cv2.imwrite(str(DOCS / "episode.jpg"), strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def read_heights(path: Path) -> dict[str, float]:
    """Return {episode uuid: how high the cube was [m]}."""
    return {entry["tag"]: entry["max_height_m"] for entry in map(json.loads, path.read_text().splitlines())}


def rows(episode: Episode, title: str) -> np.ndarray:
    """Return wrist and front frames of one episode, evenly spaced in time, uint8 [H, W, 3]."""
    chosen = np.linspace(0, len(episode), FRAMES).round().astype(int)
    pictures = []
    for camera in ("wrist", "front"):
        shown = episode.images[camera][chosen]
        line = [cv2.resize(f, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC) for f in shown]
        framed = [cv2.copyMakeBorder(f, GAP_PX, 0, 0, GAP_PX, cv2.BORDER_CONSTANT, value=(255,) * 3) for f in line]
        pictures.append(np.hstack(framed))
    for i, t in enumerate(chosen):
        at = (i * (SIDE_PX + GAP_PX) + 6, 22)
        text = f"{title} {t / 10:.1f} s"
        cv2.putText(pictures[0], text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(np.vstack(pictures), 4, 4, 0, 0, cv2.BORDER_CONSTANT, value=(255,) * 3)


if __name__ == "__main__":
    main()
