"""Run directories: what was saved comes back, and a crash at any moment leaves something to go on from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data.errors import UserError
from hilserl import runs
from hilserl.runs import RunDirectory, find_checkpoint, load_checkpoint, save_checkpoint

FOREVER = """
import sys, torch
from hilserl.runs import RunDirectory
run, n = RunDirectory(sys.argv[1]), 0
while True:
    n += 1
    run.save_checkpoint({"a.w": torch.full((2000,), float(n)), "b": torch.full((50,), n)}, {"n": n}, keep=2)
"""


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"actor.trunk.0.weight": torch.full((3, 2), value), "rng": torch.arange(5, dtype=torch.uint8)}


class Crash(BaseException):
    """Stands for the process ending: nothing may catch it."""


def crash(*_: object, **__: object) -> None:
    raise Crash


def crash_half_way(folder: Path, ignore_errors: bool = False) -> None:
    """Stands for a deletion during which the process ends."""
    if folder.exists():
        (folder / runs.TENSORS).unlink()
        raise Crash


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    saved = {
        "float": torch.randn(3, 2),
        "half": torch.randn(3).to(torch.bfloat16),
        "transposed": shared.T,  # has gaps
        "tied.a": shared,
        "tied.b": shared,  # shares memory
        "rng": torch.get_rng_state(),
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(0.1, dtype=torch.float64, requires_grad=True),
    }
    folder = save_checkpoint(tmp_path / "x" / "policy", saved, {"step": 7, "name": "é", "nested": {"a": [1, None]}})
    loaded, info = load_checkpoint(folder)
    assert info == {"step": 7, "name": "é", "nested": {"a": [1, None]}}
    assert loaded.keys() == saved.keys()
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor.detach()), name


def test_prefix_splits_what_it_joined() -> None:
    joined = {
        **runs.prefixed("actor", {"w": torch.ones(1)}),
        **runs.prefixed("actor_target", {"w": torch.zeros(1)}),
    }
    assert joined.keys() == {"actor.w", "actor_target.w"}
    assert runs.under("actor", joined) == {"w": torch.ones(1)}


def test_latest_and_best_and_how_many_stay(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "lift")
    for n in range(1, 7):
        run.save_checkpoint(tensors(n), {"n": n}, keep=2, best=n == 3)
    assert [folder.name for folder in runs.numbered(run.checkpoints)] == ["000003", "000005", "000006"]
    assert load_checkpoint(run.path)[1] == {"n": 6}
    assert load_checkpoint(run.path, "best")[1] == {"n": 3}
    assert load_checkpoint(run.path, "000005")[1] == {"n": 5}
    assert load_checkpoint(run.checkpoints / "000005")[1] == {"n": 5}
    assert find_checkpoint(run.path) == run.checkpoints / "000006"


@pytest.mark.parametrize("step", ["save_file", "_sync", "rename", "_write_atomically", "rmtree"])
def test_a_crash_while_saving_leaves_the_one_before_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    import safetensors.torch

    run = RunDirectory(tmp_path / "lift")
    run.save_checkpoint(tensors(1), {"n": 1}, keep=1)
    places = {"save_file": safetensors.torch, "rename": Path, "rmtree": runs.shutil}
    with monkeypatch.context() as patch:
        patch.setattr(places.get(step, runs), step, crash_half_way if step == "rmtree" else crash)
        with pytest.raises(Crash):
            run.save_checkpoint(tensors(2), {"n": 2}, keep=1)
    for folder in [run.path, *runs.numbered(run.checkpoints)]:
        loaded, info = load_checkpoint(folder)
        assert info["n"] == loaded["actor.trunk.0.weight"][0, 0]
    assert load_checkpoint(run.path)[1]["n"] == (2 if step == "rmtree" else 1)
    run.save_checkpoint(tensors(3), {"n": 3}, keep=1)  # and the run goes on
    assert load_checkpoint(run.path)[1] == {"n": 3}
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_while_replacing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    folder = save_checkpoint(tmp_path / "policy", tensors(1), {"n": 1})
    rename, calls = Path.rename, []

    def rename_or_crash(self: Path, target: Path) -> Path:
        calls.append(target)
        return rename(self, target) if len(calls) < crash_at else crash()  # type: ignore[return-value,func-returns-value]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_crash)
        with pytest.raises(Crash):
            save_checkpoint(folder, tensors(2), {"n": 2})
    assert load_checkpoint(folder)[1] == {"n": 1}
    save_checkpoint(folder, tensors(3), {"n": 3})
    assert load_checkpoint(folder)[1] == {"n": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_first_save_killed_before_its_pointer_still_resumes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "lift")
    save_checkpoint(run.checkpoints / "000001", tensors(1), {"n": 1})
    assert load_checkpoint(run.path)[1] == {"n": 1}


def test_killed_at_any_moment(tmp_path: Path) -> None:
    for round_number in range(2):
        writer = subprocess.Popen([sys.executable, "-c", FOREVER, str(tmp_path / "run")])
        try:
            before = latest_number(tmp_path)
            while latest_number(tmp_path) < before + 2 + round_number:
                assert writer.poll() is None
                time.sleep(0.003)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        for folder in [tmp_path / "run", *runs.numbered(tmp_path / "run" / "checkpoints")]:
            loaded, info = load_checkpoint(folder)
            assert (loaded["a.w"] == info["n"]).all()
            assert (loaded["b"] == info["n"]).all()


def latest_number(tmp_path: Path) -> int:
    pointer = tmp_path / "run" / "checkpoints" / "latest"
    return int(pointer.read_text()) if pointer.exists() else 0


def test_nothing_to_resume_from_says_what_is_there_and_what_to_do(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "good").save_checkpoint(tensors(1), {})
    empty = RunDirectory(tmp_path / "empty")
    empty.write_json("config.json", {})
    with pytest.raises(UserError) as caught:
        load_checkpoint(empty.path)
    message = str(caught.value)
    assert str(empty.path) in message
    assert "config.json" in message  # what was found
    assert "tensors.safetensors" in message  # what is accepted
    assert "good" in message  # where there is one
    assert "hilserl pretrain" in message  # the next command


@pytest.mark.parametrize(("name", "said"), [("absent", "no such folder"), ("run", "it has 000001")])
def test_absent_run_and_absent_number(tmp_path: Path, name: str, said: str) -> None:
    RunDirectory(tmp_path / "run").save_checkpoint(tensors(1), {})
    with pytest.raises(UserError, match=said):
        find_checkpoint(tmp_path / name, "000009")


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        find_checkpoint(tmp_path / "typo")
    assert list(tmp_path.iterdir()) == []


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path / "run")
    run.write_json("config.json", {"a": 1})
    with pytest.raises(TypeError):
        run.write_json("config.json", {"a": object()})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(Crash):
            run.write_json("config.json", {"a": 2})
    assert json.loads((run.path / "config.json").read_text()) == {"a": 1}
    run.write_json("config.json", {"a": 3})
    assert json.loads((run.path / "config.json").read_text()) == {"a": 3}


def test_keep_nothing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(ValueError, match="at least 1"):
        run.save_checkpoint(tensors(1), {}, keep=0)
    assert runs.numbered(run.checkpoints) == []
