"""Which chunks and which codec for the frames of an episode: `uv run python benchmarks/chunking.py`. Prints a table.

One episode of 100 steps and two 128×128 cameras, of two kinds: rendered frames with the rig's sensor noise, and
the same frames with the grain of a cheap camera, which no lossless codec shrinks. Medians of 7 writes with fsync
and of 7 warm reads; two worker threads, as the store uses.
"""

from __future__ import annotations

import itertools
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from data.store.episode_codec import ZARR_SETTINGS, fsync_tree
from sim_pretrain.world.physics import World
from sim_pretrain.world.profile import RealWorld

STEPS, REPEATS, GRAIN = 100, 7, 6.0
CODECS = {
    "none": None,
    "lz4": [BloscCodec(cname="lz4", clevel=1, shuffle="noshuffle")],
    "zstd 1": [ZstdCodec(level=1)],
    "zstd 3": [ZstdCodec(level=3)],
    "zstd 1, bitshuffle": [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
}
CHUNKS = (1, 16, 64, STEPS + 1)


def frames() -> dict[str, np.ndarray]:
    """Return {kind: uint8 [2, T+1, 128, 128, 3]} of an arm that moves."""
    world = World(RealWorld(native_width_px=128, native_height_px=128))
    rng = np.random.default_rng(0)
    goal = world.joint_positions().copy()
    clean = []
    for _ in range(STEPS + 1):
        goal[:5] += rng.normal(0, 0.03, 5)
        world.set_goals(goal)
        world.advance(0.1)
        clean.append([world.render(c) for c in ("wrist", "front")])
    world.close()
    rendered = np.stack(clean, 1)
    grain = rng.normal(0, GRAIN, rendered.shape)
    return {"rendered": rendered, "grainy": (rendered + grain).clip(0, 255).astype(np.uint8)}


def measure(images: np.ndarray, chunk: int, codec: object, folder: Path) -> tuple[float, float, float, int]:
    """Return write ms, read ms, KiB per step and the number of files."""
    writes, reads = [], []
    for i in range(REPEATS):
        path = folder / f"{i}"
        started_s = time.perf_counter()
        group = zarr.create_group(store=path)
        for camera, array in enumerate(images):
            group.create_array(
                f"{camera}", data=array, chunks=(min(chunk, len(array)), *array.shape[1:]), compressors=codec
            )
        fsync_tree(path)
        writes.append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        found = zarr.open_group(store=path, mode="r")
        for camera, array in enumerate(images):
            assert (np.asarray(found[f"{camera}"][...]) == array).all()
        reads.append(time.perf_counter() - started_s)
    files = [p for p in path.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files)
    shutil.rmtree(folder)
    return 1e3 * float(np.median(writes)), 1e3 * float(np.median(reads)), size / 1024 / STEPS, len(files)


def main() -> None:
    """Print the table."""
    print(f"{platform.machine()}, Python {platform.python_version()}, zarr {zarr.__version__}\n")
    print(
        "| frames | codec | frames per chunk | write, fsynced | read | KiB per step | files |\n"
        "|---|---|---|---|---|---|---|"
    )
    kinds = frames()
    with zarr.config.set(ZARR_SETTINGS), tempfile.TemporaryDirectory() as folder:
        for kind, (name, codec), chunk in itertools.product(kinds, CODECS.items(), CHUNKS):
            write_ms, read_ms, size, files = measure(kinds[kind], chunk, codec, Path(folder) / "run")
            print(
                f"| {kind} | {name} | {chunk} | {write_ms:.0f} ms | {read_ms:.0f} ms | {size:.1f} | {files} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
