"""`hilserl export` and `hilserl import` as a person runs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data.images import preprocess
from data.schema import Episode, Outcome, Source
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl.cli import main
from hilserl.loop.retarget import JOINT_NAMES, to_rad
from hilserl.robot.kinematics import ee_position
from hilserl.tasks import lift_task

FPS, FRAMES, H, W = 30, (31, 46), 24, 32  # 31 frames end on a tick of the grid, 46 do, too
CAMERAS = ("arm", "front")
NAMED = "--cameras={wrist: observation.images.arm}"


def frame(episode: int, t: int, camera: int) -> np.ndarray:
    """A native frame that follows from where it belongs."""
    return np.random.default_rng([episode, t, camera]).integers(0, 256, (H, W, 3), np.uint8)


def joints(episode: int) -> tuple[np.ndarray, np.ndarray]:
    """Measured and commanded joints [N, 6] in LeRobot's units: a slow motion, the command two frames ahead."""
    t = np.arange(FRAMES[episode] + 2)[:, None] / FPS
    path = np.array([0.0, -10.0, 2.0, 90.0, 90.0, 40.0]) + [6, 4, -3, 2, 0, 20] * np.sin(t + episode)
    return path[:-2].astype(np.float32), path[2:].astype(np.float32)


def record(root: Path, *, names: tuple[str, ...] = JOINT_NAMES, reward: bool = False) -> Path:
    """Write a dataset as LeRobot's own recorder does; with `reward`, episode 0 succeeds at frame 18."""
    from lerobot.datasets import LeRobotDataset

    vector = {"dtype": "float32", "shape": (6,), "names": list(names)}
    image = {"dtype": "image", "shape": (H, W, 3), "names": ["height", "width", "channels"]}
    described = {"action": vector, "observation.state": vector}
    described |= {f"observation.images.{c}": image for c in CAMERAS}
    described |= {"next.reward": {"dtype": "float32", "shape": (1,), "names": None}} if reward else {}
    dataset = LeRobotDataset.create(
        "me/demos", FPS, described, root=root, robot_type="so101_follower", use_videos=False, video_backend="pyav"
    )
    order = [JOINT_NAMES.index(n) for n in names]
    for episode, frames in enumerate(FRAMES):
        measured, commanded = joints(episode)
        for t in range(frames):
            row = {"action": commanded[t][order], "observation.state": measured[t][order], "task": "lift"}
            row |= {f"observation.images.{c}": frame(episode, t, i) for i, c in enumerate(CAMERAS)}
            row |= {"next.reward": np.array([float(episode == 0 and t == 18)], np.float32)} if reward else {}
            dataset.add_frame(row)
        dataset.save_episode()
    dataset.finalize()
    return root


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint-space dataset without rewards; no test changes it."""
    return record(tmp_path_factory.mktemp("recorded") / "demos")


def episodes(run: Path) -> list[Episode]:
    store = EpisodeStore.reader(run / "store")
    assert store.verify() == []
    return [store.read(c) for c in store.commits()]


def run_import(root: Path, run: Path, *flags: str) -> int:
    return main(["import", f"--root={root}", f"--output_dir={run}", NAMED, *flags])


def test_joint_demos_import_with_equal_frames_and_actions(recorded: Path, tmp_path: Path, capsys) -> None:
    assert run_import(recorded, tmp_path / "run", "--successful", "--repo_id=me/demos") == 0
    out = capsys.readouterr().out
    assert "30 frames/s to 10 Hz, 1 frame of 3" in out
    assert "residual 0.0 mm mean" in out and "2 episodes added, 25 steps (2 success)" in out
    task = lift_task()
    for number, episode in enumerate(episodes(tmp_path / "run")):
        rows = np.arange(0, FRAMES[number], 3)
        measured, commanded = joints(number)
        for i, camera in enumerate(task.observation.cameras):
            expected = [preprocess(frame(number, int(r), i), camera) for r in rows]
            assert (episode.images[camera.name] == np.stack(expected)).all()
        np.testing.assert_allclose(episode.state[:, :6], to_rad(measured[rows]), rtol=1e-6)
        path = ee_position(to_rad(measured[0])) + np.cumsum(episode.executed[:, :3] * task.action.step_m, axis=0)
        recorded_path = [ee_position(q) for q in to_rad(commanded[rows[1:] - 1])]
        residual_m = episode.meta.notes["residual_max_m"]
        assert isinstance(residual_m, float) and residual_m < 1e-3
        assert np.linalg.norm(path - recorded_path, axis=1).max() <= residual_m + 1e-6
        assert (episode.source == Source.HUMAN).all()
        assert episode.reward.tolist() == [0.0] * (len(rows) - 2) + [1.0]
        assert episode.terminated[-1] and episode.meta.outcome is Outcome.SUCCESS
        assert (episode.meta.kind, episode.meta.notes["dataset"]) == ("demo", "me/demos")


def test_importing_twice_adds_nothing(recorded: Path, tmp_path: Path, capsys) -> None:
    assert run_import(recorded, tmp_path, "--successful=false") == 0
    first = episodes(tmp_path)
    assert run_import(recorded, tmp_path, "--successful=false") == 0
    assert "0 episodes added, 0 steps; 2 were there already" in capsys.readouterr().out
    assert [e.meta.uuid for e in episodes(tmp_path)] == [e.meta.uuid for e in first]
    assert all(e.truncated[-1] and e.reward.sum() == 0 and e.meta.outcome is Outcome.TIMEOUT for e in first)


def test_the_order_of_the_names_does_not_matter(recorded: Path, tmp_path: Path) -> None:
    record(tmp_path / "reversed", names=JOINT_NAMES[::-1])
    for root, run in ((recorded, "a"), (tmp_path / "reversed", "b")):
        assert run_import(root, tmp_path / run, "--successful") == 0
    for one, other in zip(episodes(tmp_path / "a"), episodes(tmp_path / "b"), strict=True):
        assert (one.executed == other.executed).all() and (one.state == other.state).all()


def test_reward_in_the_dataset_decides(tmp_path: Path) -> None:
    record(tmp_path / "rewarded", reward=True)
    assert run_import(tmp_path / "rewarded", tmp_path / "run") == 0
    won, lost = episodes(tmp_path / "run")
    assert (won.meta.outcome, lost.meta.outcome) == (Outcome.SUCCESS, Outcome.TIMEOUT)
    assert len(won) == 6  # frames 1, 4, ..., 19: the one after the action that was rewarded
    camera = lift_task().observation.cameras[0]
    assert (won.images["wrist"][-1] == preprocess(frame(0, 19, 0), camera)).all()


def test_rewards_become_labels_beside_whole_episodes(tmp_path: Path, capsys) -> None:
    record(tmp_path / "rewarded", reward=True)
    run = tmp_path / "run"
    for said in ("(2 timeout, 1 with marked success)", "0 episodes added"):
        assert run_import(tmp_path / "rewarded", run, "--kind=labels") == 0
        assert said in capsys.readouterr().out
    assert [len(e) + 1 for e in episodes(run)] == [11, 16]  # nothing is cut off after the success
    reader = open_reader(run)
    won, lost = (reader.read(c) for c in reader.commits("labels"))
    assert won.marked_success.nonzero()[0].tolist() == [7]  # of frames 19 to 21; the action in 18 led to 19
    assert not lost.marked_success.any() and not won.reward.any()
    assert [e.label for e in reader.annotations.entries()] == ["success", "success"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([NAMED], "--successful"),
        (["--successful"], "'observation.images.wrist', which is not there"),
        ([NAMED, "--successful", "--cameras={wrist: arm}"], "observation.images.arm, observation.images.front"),
        ([NAMED, "--successful", "--root=nowhere"], "no such folder"),
    ],
)
def test_bad_input_writes_nothing(flags: list[str], says: str, recorded: Path, tmp_path: Path, capsys) -> None:
    assert main(["import", f"--root={recorded}", f"--output_dir={tmp_path / 'run'}", *flags]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_other_joints_are_refused(tmp_path: Path, capsys) -> None:
    from lerobot.datasets import LeRobotDataset

    image = {"dtype": "image", "shape": (H, W, 3), "names": ["height", "width", "channels"]}
    described: dict = {f"observation.images.{c}": image for c in ("wrist", "front")}
    for key in ("action", "observation.state"):
        described[key] = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    dataset = LeRobotDataset.create("a/b", FPS, described, root=tmp_path / "d", use_videos=False, video_backend="pyav")
    images = {f"observation.images.{c}": frame(0, 0, 0) for c in ("wrist", "front")}
    dataset.add_frame({"action": np.zeros(2, "f"), "observation.state": np.zeros(2, "f"), "task": "x", **images})
    dataset.save_episode()
    dataset.finalize()
    assert main(["import", f"--root={tmp_path / 'd'}", f"--output_dir={tmp_path / 'run'}", "--successful"]) == 1
    assert "action has no shoulder_pan.pos" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def stored(made: ModuleType, run: Path, spec: TaskSpec, kinds: tuple[tuple[str, Outcome], ...]) -> list[Episode]:
    """Put one random episode of each kind and outcome into a run."""
    put = []
    with EpisodeStore.create_or_open(run / "store", spec) as store:
        for seed, (kind, outcome) in enumerate(kinds):
            last = np.arange(3) == 2
            ends = last & (outcome in (Outcome.SUCCESS, Outcome.FAILURE))
            plain = made.episode(spec, seed, 3, kind=kind, outcome=outcome)
            episode = replace(
                plain,
                proposed=plain.executed,
                reward=(last & (outcome is Outcome.SUCCESS)).astype(np.float32),
                terminated=ends,
                truncated=last & ~ends,
                p_success=np.full(3, np.nan, np.float32),
                policy_version=np.full(3, -1),
            )
            store.append(episode)
            put.append(episode)
    return put


def test_an_exported_run_imports_exactly(made: ModuleType, tmp_path: Path, capsys) -> None:
    ends = (Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.FAILURE, Outcome.ABORTED)
    put = stored(made, tmp_path / "run", lift_task(), tuple(("online", outcome) for outcome in ends))
    assert main(["export", str(tmp_path / "run"), f"--root={tmp_path / 'dataset'}", "--repo_id=me/lift"]) == 0
    assert "3 episodes, 9 frames" in capsys.readouterr().out  # not the aborted one
    assert main(["import", f"--root={tmp_path / 'dataset'}", f"--output_dir={tmp_path / 'copy'}"]) == 0
    for found, expected in zip(episodes(tmp_path / "copy"), put[:3], strict=True):
        assert found.meta == expected.meta
        assert all((found.images[c] == expected.images[c]).all() for c in expected.images)
        for name, array in vars(expected).items():
            if isinstance(array, np.ndarray) and name != "stamp_s":
                assert getattr(found, name).tobytes() == array.tobytes(), name
    assert main(["import", f"--root={tmp_path / 'dataset'}", f"--output_dir={tmp_path / 'run'}"]) == 0
    assert "0 episodes added" in capsys.readouterr().out


def test_export_refuses(made: ModuleType, tmp_path: Path, capsys) -> None:
    stored(made, tmp_path / "run", lift_task(), (("demo", Outcome.SUCCESS), ("eval", Outcome.FAILURE)))
    export = ["export", str(tmp_path / "run"), f"--root={tmp_path / 'dataset'}"]
    assert main([*export, "--kinds=demo,onlin"]) == 1
    assert "no finished episode of kind onlin; it has demo (1), eval (1)" in capsys.readouterr().err
    assert not (tmp_path / "dataset").exists()
    assert main([*export, "--kinds=eval"]) == 0
    assert "1 episodes, 3 frames" in capsys.readouterr().out
    assert main(export) == 1
    assert "never overwrites" in capsys.readouterr().err
