"""Visual meshes of the SO-101 from the `so101-nexus` package, simplified once and cached; empty when absent."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Vertices closer than this merge: looks the same at 128 px and draws 100 times faster. The hand is seen from near by.
FINE_M, COARSE_M = 0.002, 0.004
FINE = ("wrist_roll_follower_so101_v1", "moving_jaw_so101_v1")
BODY_NAMES = {"moving_jaw_so101_v1": "moving_jaw"}  # theirs -> ours


@dataclass(frozen=True)
class Skin:
    """One visual mesh placed on a body."""

    body: str
    mesh: str
    position: str  # as in MJCF, metres
    quaternion: str
    is_motor: bool


def skins() -> tuple[list[Skin], dict[str, bytes]]:
    """Return where every visual mesh sits and the simplified STL files, or ([], {}) without the package."""
    spec = importlib.util.find_spec("so101_nexus")
    if spec is None or spec.origin is None:
        return [], {}
    folder = Path(spec.origin).parent / "assets" / "SO101"
    placed = [
        Skin(
            body=BODY_NAMES.get(body.get("name", ""), body.get("name", "")),
            mesh=geom.get("mesh", ""),
            position=geom.get("pos", "0 0 0"),
            quaternion=geom.get("quat", "1 0 0 0"),
            is_motor=geom.get("mesh", "").startswith("sts3215"),
        )
        for body in ElementTree.parse(folder / "so101_new_calib.xml").iter("body")
        for geom in body.findall("geom")
        if geom.get("class") == "visual"
    ]
    version = importlib.metadata.version("so101-nexus")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hilserl" / f"so101-{version}"
    return placed, {
        f"{name}.stl": _simplified(folder / "assets" / f"{name}.stl", cache, FINE_M if name in FINE else COARSE_M)
        for name in sorted({s.mesh for s in placed})
    }


def _simplified(source: Path, cache: Path, cell_m: float) -> bytes:
    """Return the clustered mesh as binary STL, from the cache when it is there."""
    cached = cache / f"{source.stem}-{1e3 * cell_m:g}mm.stl"
    if cached.exists():
        return cached.read_bytes()
    import trimesh

    mesh = trimesh.load_mesh(source)
    cells, index = np.unique(np.round(mesh.vertices / cell_m).astype(int), axis=0, return_inverse=True)
    counts = np.bincount(index, minlength=len(cells))[:, None]
    vertices = np.zeros((len(cells), 3))
    np.add.at(vertices, index, mesh.vertices)
    faces = index[mesh.faces]
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    data = trimesh.Trimesh(vertices / counts, faces[distinct], process=False).export(file_type="stl")
    assert isinstance(data, bytes)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as temporary:
        temporary.write(data)
    os.replace(temporary.name, cached)
    return data
