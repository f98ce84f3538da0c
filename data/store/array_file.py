"""Reads one array of an episode group straight from its files: one read per chunk, no event loop.

zarr itself spends most of the time of a small array on starting tasks. What is read here is plain zarr v3, as
`episode_codec.write_group` writes it; whatever looks different is left to zarr.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd


def read_array(path: Path) -> np.ndarray:
    """Return the whole array at `path`; safe to call from several threads.

    Raises:
        Exception: whatever a missing or damaged file leads to; a missing chunk reads as the fill value, as zarr
            defines it, so the caller has to compare a checksum.
    """
    meta = json.loads((path / "zarr.json").read_bytes())
    shape, chunk = tuple(meta["shape"]), tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = [codec["name"] for codec in meta["codecs"]]
    whole_rows = chunk[1:] == shape[1:] and chunk[0] > 0
    if not (whole_rows and codecs in (["bytes"], ["bytes", "zstd"]) and _is_plain(meta)):
        return np.asarray(zarr.open_array(store=path, mode="r")[...])
    chunks = -(-shape[0] // chunk[0])
    padded = np.empty((chunks * chunk[0], *shape[1:]), meta["data_type"])  # the last chunk is stored whole, too
    for i in range(chunks):
        target = padded[i * chunk[0] : (i + 1) * chunk[0]]
        try:
            stored = (path / ".".join(map(str, (i, *(0 for _ in shape[1:]))))).read_bytes()
        except FileNotFoundError:
            target[...] = meta["fill_value"]
            continue
        if "zstd" in codecs:
            Zstd().decode(stored, target)
        else:
            target[...] = np.frombuffer(stored, target.dtype).reshape(target.shape)
    return padded[: shape[0]]


def _is_plain(meta: dict[str, Any]) -> bool:
    little = all(codec.get("configuration", {}).get("endian", "little") == "little" for codec in meta["codecs"])
    keys = meta["chunk_key_encoding"] == {"name": "v2", "configuration": {"separator": "."}}
    return meta["zarr_format"] == 3 and meta["node_type"] == "array" and little and keys
