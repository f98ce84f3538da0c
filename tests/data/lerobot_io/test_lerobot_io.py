"""Our episodes as a LeRobot dataset and back: equal frames and numbers, nothing half-written, no other file touched."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.labels import from_mask, to_mask
from data.lerobot_io.episode import (
    content_uuid,
    ending,
    find_cameras,
    judged,
    marks_at,
    own_draft,
    require_own,
    with_images,
)
from data.lerobot_io.read import LeRobotFolder
from data.lerobot_io.write import EXTRA, columns, export, features, state_names
from data.schema import Episode, EpisodeMeta, Outcome
from data.spec import SpecMismatch, TaskSpec
from data.store.episode_codec import CorruptEpisode
from data.store.episode_store import EpisodeStore

LEFT_OUT = ("proposed", "p_success", "policy_version", "stamp_s")  # of an episode, by an export


@pytest.fixture(scope="module")
def spec(made: ModuleType) -> TaskSpec:
    return made.task(size_px=64)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, made: ModuleType, spec: TaskSpec) -> tuple[Path, list[Episode]]:
    """A dataset of three episodes, which no test may change, and the episodes."""
    folder = tmp_path_factory.mktemp("exported")
    episodes = [made.episode(spec, seed, count=3 + seed, kind="online") for seed in range(3)]
    with EpisodeStore.create_or_open(folder / "store", spec) as store:
        commits = [store.append(e) for e in episodes]
        export(store, commits, folder / "dataset", "local/test")
    return folder / "dataset", episodes


@pytest.fixture
def loaded(exported: tuple[Path, list[Episode]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The dataset as LeRobot's loader gives it."""
    import datasets
    from lerobot.datasets import LeRobotDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return LeRobotDataset("local/test", root=exported[0], video_backend="pyav", return_uint8=True)


def imported(root: Path, spec: TaskSpec, number: int, successful: bool | None = None) -> Episode:
    folder = LeRobotFolder(root)
    meta = EpisodeMeta(Outcome.TIMEOUT, "demo", spec.fingerprint, uuid=content_uuid(folder.columns(number)))
    draft = own_draft(folder, number, spec, meta, successful)
    assert draft is not None
    return with_images(draft, folder, find_cameras(folder, spec, {}), cropped=True)


def change_info(root: Path, **fields: object) -> None:
    path = root / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def copied(root: Path, to: Path) -> Path:
    subprocess.run(["cp", "-r", root, to], check=True)
    return to


def test_lerobot_loads_equal_frames_actions_and_rewards(loaded, exported, spec: TaskSpec) -> None:
    episodes = exported[1]
    assert (loaded.num_episodes, loaded.num_frames, loaded.fps) == (3, sum(map(len, episodes)), 10)
    assert loaded.meta.info.robot_type == "so101_follower"
    assert loaded.features["action"]["names"] == list(spec.action.names)
    rows = iter(range(len(loaded)))
    for episode in episodes:
        numbers = columns(episode)
        for t in range(len(episode)):
            item = loaded[next(rows)]
            for camera, images in episode.images.items():
                pixels = item[f"observation.images.{camera}"]
                found = (pixels * (1 if pixels.dtype == np.uint8 else 255)).round().numpy().astype(np.uint8)
                assert (found.transpose(1, 2, 0) == images[t]).all()
            assert (item["observation.state"].numpy() == episode.state[t]).all()
            assert (item["action"].numpy() == episode.executed[t]).all()
            assert {k: item[k].item() for k in numbers} == {k: v[t].item() for k, v in numbers.items()}
            assert item["task"] == spec.name


def test_an_export_comes_back_as_it_was(exported, made: ModuleType, spec: TaskSpec) -> None:
    root, episodes = exported
    require_own(LeRobotFolder(root), spec)
    for number, episode in enumerate(episodes):
        found = imported(root, spec, number)
        assert (found.proposed == episode.executed).all()
        np.testing.assert_allclose(found.stamp_s, episode.stamp_s)
        made.assert_same(replace(found, **{n: getattr(episode, n) for n in LEFT_OUT}), episode)


def test_without_our_file_only_the_last_step_is_lost(exported, spec: TaskSpec, tmp_path: Path) -> None:
    root = copied(exported[0], tmp_path / "edited")
    (root / EXTRA).unlink()
    for number, episode in enumerate(exported[1]):
        found = imported(root, spec, number)
        assert len(found) == len(episode) - 1
        assert (found.executed == episode.executed[:-1]).all()
        assert (found.state == episode.state[:-1]).all()
        assert (found.images["camera0"] == episode.images["camera0"][:-1]).all()
        assert found.meta.outcome is Outcome.SUCCESS
        assert found.reward.tolist() == [0.0] * (len(found) - 1) + [1.0]


def test_videos_are_read_as_lerobot_reads_them(made: ModuleType, spec: TaskSpec, tmp_path: Path, monkeypatch) -> None:
    import datasets
    from lerobot.datasets import LeRobotDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        commits = [store.append(made.episode(spec, seed, count=4)) for seed in range(2)]
        export(store, commits, tmp_path / "dataset", "local/test", videos=True)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER  # the encoder makes root's processes real-time
    theirs = LeRobotDataset("local/test", root=tmp_path / "dataset", video_backend="pyav", return_uint8=True)
    folder = LeRobotFolder(tmp_path / "dataset")
    for number in range(2):
        for t, frame in zip([0, 2, 3], folder.frames(number, "observation.images.camera1", [0, 2, 3]), strict=True):
            item = theirs[4 * number + t]["observation.images.camera1"]
            assert (frame == item.numpy().transpose(1, 2, 0)).all()
    episode = imported(tmp_path / "dataset", spec, 1)
    assert (episode.images["camera1"][-1] == made.episode(spec, 1, count=4).images["camera1"][-1]).all()


def test_a_failure_half_way_leaves_nothing(made: ModuleType, spec: TaskSpec, tmp_path: Path) -> None:
    class Breaks:
        def __init__(self, store: EpisodeStore) -> None:
            self.spec, self.read_before, self._store = store.spec, 0, store

        def read(self, which, *, native=False) -> Episode:
            self.read_before += 1
            if self.read_before == 2:
                raise CorruptEpisode("no")
            return self._store.read(which)

    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        commits = [store.append(made.episode(spec, seed)) for seed in range(2)]
        with pytest.raises(CorruptEpisode):
            export(Breaks(store), commits, tmp_path / "new" / "dataset", "local/test")  # type: ignore[arg-type]
        with pytest.raises(UserError, match="no episode"):
            export(store, [], tmp_path / "new" / "dataset", "local/test")
    gc.collect()
    assert list((tmp_path / "new").iterdir()) == []


def test_nothing_is_overwritten(made: ModuleType, spec: TaskSpec, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    with EpisodeStore.create_or_open(tmp_path / "store", spec) as store:
        commit = store.append(made.episode(spec, 0))
        for name in ("dataset", "link"):
            with pytest.raises(UserError, match="never overwrites"):
                export(store, [commit], tmp_path / name, "local/test")
    assert list((tmp_path / "dataset").iterdir()) == []


def test_names_and_features_agree(spec: TaskSpec) -> None:
    described = features(spec, videos=False)
    assert state_names(spec) == ["joints_0", "joints_1", "joints_2"]
    assert all(f["names"] is None or len(f["names"]) in (f["shape"][0], 3) for f in described.values())


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: (root / "meta" / "info.json").unlink(), "no LeRobot dataset"),
        (lambda root: (root / "meta" / "info.json").write_text("{"), "no LeRobot dataset"),
        (lambda root: change_info(root, codebase_version="v2.1"), "convert_dataset_v21_to_v30.*push-to-hub=false"),
        (lambda root: change_info(root, total_episodes=4), "lists 3 of 4"),
        (lambda root: (root / "data/chunk-000/file-000.parquet").unlink(), "missing: data/chunk-000/file-000.parquet"),
        (lambda root: (root / "data/chunk-000/file-000.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (lambda root: subprocess.run(["rm", "-r", root / "meta" / "episodes"], check=True), "lists 0 of 3"),
    ],
)
def test_damage_is_said(damage, says: str, exported, spec: TaskSpec, tmp_path: Path) -> None:
    root = copied(exported[0], tmp_path / "damaged")
    damage(root)
    with pytest.raises(UserError, match=f"(?s){says}"):
        imported(root, spec, 0)


def test_a_missing_folder_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        LeRobotFolder(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("key", ["action", "observation.state", "next.reward"])
def test_nan_is_refused(key: str, exported, spec: TaskSpec, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = copied(exported[0], tmp_path / "nan")
    path = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    values = np.array(table[key].to_pylist(), np.float32)
    values[4] = np.nan  # the second frame of episode 1
    column = pa.array(values.tolist(), table[key].type)
    pq.write_table(table.set_column(table.column_names.index(key), table.schema.field(key), column), path)
    imported(root, spec, 0)
    with pytest.raises(UserError, match=f"episode 1: {key} is NaN or infinite in 1 frames, the first is 1"):
        imported(root, spec, 1)


def test_another_spec_is_refused(exported, made: ModuleType) -> None:
    folder = LeRobotFolder(exported[0])
    with pytest.raises(SpecMismatch, match="size_px"):
        require_own(folder, made.task(size_px=32))


def test_a_missing_camera_lists_what_there_is(exported, spec: TaskSpec) -> None:
    folder = LeRobotFolder(exported[0])
    swapped = {"camera0": "observation.images.camera1", "camera1": "observation.images.camera0"}
    assert {c.name: key for c, key in find_cameras(folder, spec, swapped).items()} == swapped
    with pytest.raises(UserError, match=r"(?s)'elsewhere'.*observation.images.camera0, observation.images.camera1"):
        find_cameras(folder, spec, {"camera0": "elsewhere"})
    with pytest.raises(UserError, match="'wrist' is none of the task's"):
        find_cameras(folder, spec, {"wrist": "observation.images.camera0"})


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.booleans())
def test_an_episode_ends_at_its_first_success(success: list[bool], by_reward: bool) -> None:
    found = {"action": np.zeros((len(success), 4))}
    found |= {"next.reward": np.array(success, float)} if by_reward else {"next.success": np.array(success)}
    last, outcome = ending(found, None)
    assert 0 <= last < len(success)
    assert outcome is (Outcome.SUCCESS if any(success) else Outcome.TIMEOUT)
    assert sum(success[:last]) == (1 if any(success[:-1]) else 0)  # the frames that were acted on
    assert ending(found, True) == (len(success) - 1, Outcome.SUCCESS)
    assert ending(found, False) == (len(success) - 1, Outcome.TIMEOUT)


def test_how_it_ended_without_success() -> None:
    found = {"action": np.zeros((3, 4)), "next.reward": np.zeros(3), "next.done": np.arange(3) == 2}
    assert ending(found, None) == (2, Outcome.TIMEOUT)  # LeRobot's `done` alone may be the time limit
    assert ending(found | {"next.truncated": np.zeros(3, bool)}, None) == (2, Outcome.FAILURE)
    assert ending(found | {"next.truncated": np.arange(3) == 2}, None) == (2, Outcome.TIMEOUT)
    with pytest.raises(UserError, match="--successful=false"):
        ending({"action": np.zeros((3, 4))}, None)
    with pytest.raises(UserError, match=r"(?s)0\.9 in frame 1.*--successful"):
        ending(found | {"next.reward": np.array([0.0, 0.9, 1.0])}, None)


LED_TO = st.lists(st.booleans(), min_size=1, max_size=20)


@given(LED_TO, st.booleans())
def test_what_an_action_led_to_is_seen_in_the_next_frame(led_to: list[bool], by_reward: bool) -> None:
    key = "next.reward" if by_reward else "next.success"
    columns = {"action": np.zeros((len(led_to), 4)), key: np.array(led_to, np.float32 if by_reward else bool)}
    last, outcome, shown = judged(columns, "labels", None)
    assert (last, outcome) == (len(led_to) - 1, Outcome.TIMEOUT)  # kept whole, however early it succeeds
    assert shown is not None
    expected = [False, *led_to[:-1]]
    assert shown[:-1].tolist() == expected[:-1]
    assert shown[-1] == (expected[-1] or led_to[-1])  # it stands for the frame that LeRobot does not keep
    for kind, successful in (("demo", None), ("labels", True)):
        assert judged(columns, kind, successful) == (*ending(columns, successful), None)


@given(LED_TO, st.integers(1, 4), st.integers(0, 3))
def test_no_mark_is_lost_when_frames_are_left_out(shown: list[bool], each: int, first: int) -> None:
    marks = np.array(shown)
    rows = list(range(min(first, len(shown) - 1), len(shown), each))
    kept = to_mask(marks_at(marks, rows), len(rows))
    for k, row in enumerate(rows):
        since = 0 if k == 0 else rows[k - 1] + 1
        assert kept[k] == marks[since : row + 1].any()
    assert marks_at(marks, range(len(shown))) == from_mask(marks)


def test_the_mark_of_a_frame_counts_more_than_a_reward() -> None:
    """Label episodes of our own have no reward: their marks are what was labelled."""
    columns = {"next.reward": np.zeros(3), "marked_success": np.array([False, True, False])}
    assert judged(columns, "labels", None)[2].tolist() == [False, True, False]  # type: ignore[union-attr]
    with pytest.raises(UserError, match="neither"):  # as for any other kind
        judged({"action": np.zeros((3, 4))}, "labels", None)


def test_lerobot_visualizer_takes_it(loaded, spec: TaskSpec) -> None:
    """Its drawing needs rerun, which is not installed here; what it asks of the dataset does not."""
    from lerobot.scripts.lerobot_dataset_viz import get_feature_names
    from torch.utils.data import DataLoader

    batch = next(iter(DataLoader(loaded, batch_size=4)))
    assert get_feature_names(loaded, "observation.state") == state_names(spec)
    assert {"action", "observation.state", "next.done", "next.reward", "next.success"} <= set(batch)
    assert set(loaded.meta.camera_keys) == {"observation.images.camera0", "observation.images.camera1"}


def test_lerobot_trains_act_on_it(exported, tmp_path: Path) -> None:
    size = "dim_model=32 n_heads=2 dim_feedforward=32 n_encoder_layers=1 n_vae_encoder_layers=1 latent_dim=4"
    policy = (
        f"type=act device=cpu push_to_hub=false pretrained_backbone_weights=null chunk_size=2 n_action_steps=2 {size}"
    )
    command = [str(Path(sys.executable).with_name("lerobot-train"))]
    command += [f"--policy.{flag}" for flag in policy.split()]
    command += ["--dataset.repo_id=local/test", f"--dataset.root={exported[0]}", "--dataset.video_backend=pyav"]
    command += ["--steps=2", "--batch_size=2", "--num_workers=0", "--log_freq=1", "--save_checkpoint=false"]
    command += ["--wandb.enable=false", f"--output_dir={tmp_path / 'out'}"]
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "step:2 " in done.stdout + done.stderr
