"""The scene check of a run: its first starts are the reference, the arm at the start pose is what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data.images import preprocess
from data.schema import Outcome
from data.spec import CameraSpec
from data.store.array_file import read_array
from data.store.reader import open_reader
from hilserl.loop.snapshot import Snapshot
from hilserl.ui.progress import Light
from hilserl.ui.scene import LEAST, Scene
from teleop.authority import Authority
from teleop.inputs import Prompt

MOST = 20  # starts that make the reference
CLASSIFIER = "classifier"  # what its light is called; the others have the names of the cameras


class SceneCheck:
    """Of one run. Until it holds `LEAST` finished episodes there is nothing to compare with."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._cameras: dict[str, tuple[CameraSpec, Scene]] = {}
        self._found: list[Light] = []

    def look(self, snapshot: Snapshot | None, pixels: Mapping[str, np.ndarray]) -> list[Light]:
        """Return a light for the classifier and for each camera: how it was when the arm was at its start pose last."""
        if snapshot is not None and is_start(snapshot):
            self._cameras = self._cameras or self._read()
            self._found = [self._judge(name, pixels[name]) for name in self._cameras if name in pixels]
            self._found += success_at_start(snapshot)
        return self._found

    def reference(self, camera: str) -> np.ndarray | None:
        """Return what a start usually looks like, uint8 [H, W, 3], within the crop."""
        return self._cameras[camera][1].reference if camera in self._cameras else None

    def _judge(self, name: str, native: np.ndarray) -> Light:
        spec, scene = self._cameras[name]
        usual, words = scene.judge(preprocess(native, spec))
        return Light(name, "good" if usual else "unsure", words)

    def _read(self) -> dict[str, tuple[CameraSpec, Scene]]:
        if not (self._run / "store" / "store.json").exists():
            return {}
        store = open_reader(self._run)
        commits = [c for c in store.commits() if c.outcome is not Outcome.ABORTED][:MOST]
        if len(commits) < LEAST:
            return {}
        folders = [store.location(c) / "images" for c in commits]
        cameras = store.spec.observation.cameras
        return {c.name: (c, Scene([read_array(f / c.name)[0] for f in folders])) for c in cameras}


def success_at_start(s: Snapshot) -> list[Light]:
    """Return what the classifier says of the start pose, where nothing has been done yet; [] when none was asked."""
    if s.p_start is None or s.threshold is None:
        return []
    if s.p_start < s.threshold:
        return [Light(CLASSIFIER, "good", f"p(success) {s.p_start:.2f} before the start")]
    advice = "Put the object back; if it is, raise the threshold, or record more failures and train it again"
    words = f"already sees success at the start pose: p {s.p_start:.2f}, needs {s.threshold:.2f}. {advice}"
    return [Light(CLASSIFIER, "unsure", words)]


def is_start(s: Snapshot) -> bool:
    """Whether the arm waits at its start pose for the object."""
    return s.authority == Authority.HOLDING and not s.running and s.words == Prompt.PLACE_OBJECT
