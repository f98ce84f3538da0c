"""Arrays of an episode group read without zarr, against zarr."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

from data.store.array_file import read_array
from data.store.episode_store import EpisodeStore


def test_every_array_of_a_stored_episode_is_read_as_zarr_reads_it(made: ModuleType, tmp_path: Path) -> None:
    spec = made.task()
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        store.append(made.episode(spec, 0, count=150))  # several chunks of images, the last one not full
    path = tmp_path / "store" / "episodes" / "ep_000000"
    group = zarr.open_group(path, mode="r")
    names = [n for n, member in group.members(max_depth=None) if isinstance(member, zarr.Array)]
    assert len(names) == 2 + 11  # images of two cameras, and the rest
    for name in names:
        expected, found = np.asarray(group[name][...]), read_array(path / name)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()


def test_a_store_of_version_1_is_read(made: ModuleType) -> None:
    path = Path(__file__).parent / "stores" / "version1" / "episodes" / "ep_000001"
    group = zarr.open_group(path, mode="r")
    for name in ("images/camera0", "state", "executed", "truncated"):
        assert np.array_equal(read_array(path / name), np.asarray(group[name][...]))


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (3, 2)},  # columns are split
        {"chunks": (3, 4), "chunk_key_encoding": {"name": "default", "separator": "/"}},
        {"chunks": (3, 4), "compressors": [ZstdCodec(), zarr.codecs.BloscCodec()]},
        {"chunks": (3, 4), "shards": (6, 4)},
        {"chunks": (3, 4), "dtype": ">i4"},
    ],
)
def test_what_we_do_not_write_is_left_to_zarr(tmp_path: Path, options: dict) -> None:
    values = np.arange(1, 29).reshape(7, 4)
    plain = {"shape": values.shape, "dtype": "int32", "compressors": None, "chunk_key_encoding": {"name": "v2"}}
    array = zarr.create_array(tmp_path / "a", **(plain | options))
    array[...] = values
    assert np.array_equal(read_array(tmp_path / "a"), values)


def test_a_chunk_of_fill_values_that_was_not_written_is_filled(tmp_path: Path) -> None:
    values = np.zeros((5, 2), np.float32)
    values[4] = 1.0
    array = zarr.create_array(
        tmp_path / "a",
        data=values,
        chunks=(2, 2),
        compressors=None,
        chunk_key_encoding={"name": "v2", "separator": "."},
    )
    assert array.nchunks_initialized == 1
    assert np.array_equal(read_array(tmp_path / "a"), values)


@pytest.mark.parametrize("kept", [0, 40])
def test_a_truncated_chunk_is_an_error(tmp_path: Path, kept: int) -> None:
    for name, compressors in (("raw", None), ("packed", [ZstdCodec(level=1)])):
        zarr.create_array(
            tmp_path / name,
            data=np.random.default_rng(0).random((4, 4)),
            chunks=(4, 4),
            compressors=compressors,
            chunk_key_encoding={"name": "v2", "separator": "."},
        )
        chunk = tmp_path / name / "0.0"
        chunk.write_bytes(chunk.read_bytes()[:kept])
        with pytest.raises((ValueError, RuntimeError)):
            read_array(tmp_path / name)
