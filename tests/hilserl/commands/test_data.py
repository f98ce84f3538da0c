"""`hilserl data ...`, as typed: what each command prints, changes and leaves alone, on whole and on damaged stores."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data.schema import Episode, Outcome
from data.spec import TaskSpec
from data.store.episode_store import EpisodeStore
from data.store.reader import open_reader
from hilserl import cli

Say = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def task(made: ModuleType) -> TaskSpec:
    return made.task()


def stored(made: ModuleType, task: TaskSpec, seed: int) -> Episode:
    kind, detector = ("baseline", "") if seed < 2 else ("online", "det-7")
    return made.episode(task, seed, 4 + seed, kind=kind, session=f"monday-{kind}", detector_version=detector)


@pytest.fixture(scope="session")
def template(made: ModuleType, task: TaskSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four episodes: two baseline, two online of different lengths and sessions."""
    run = tmp_path_factory.mktemp("template") / "run"
    with EpisodeStore.create_or_open(run / "store", task) as store:
        for seed in range(4):
            store.append(stored(made, task, seed))
    return run


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run `hilserl data ...`; return its exit status and what it said."""
    monkeypatch.setattr(sys, "argv", ["hilserl"])

    def typed(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        status = cli.main(["data", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return typed


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def chunk(run: Path, episode: int) -> Path:
    """A file with pixels of an episode."""
    return next(p for p in sorted((run / "store/episodes" / f"ep_{episode:06d}/images").rglob("*")) if "0.0" in p.name)


def test_info_counts_what_is_there(run: Path, say: Say, task: TaskSpec) -> None:
    before = files(run)
    status, said = say("info", run)
    assert status == 0
    assert f"4 episodes, {4 + 5 + 6 + 7} steps" in said
    assert task.fingerprint in said
    assert "monday-online: 2 episodes" in said
    assert "detector   det-7: 2 episodes" in said
    header, baseline, online = (
        line.split() for line in said.splitlines() if line.startswith(("  kind", "  baseline", "  online"))
    )
    assert header[:4] == ["kind", "episodes", "steps", "success"]
    assert (baseline[:4], online[:4]) == (["baseline", "2", "9", "2"], ["online", "2", "13", "2"])
    assert sum(
        int(cell.rstrip("%"))
        for cell in online[4 : 4 + sum(s in header for s in ("policy", "human", "expert", "hold"))]
        if cell.endswith("%")
    ) in range(98, 103)
    assert files(run) == before


def test_info_lists_episodes_and_notes(run: Path, say: Say) -> None:
    say("exclude", run, "--episode=1", "--why=blurred")
    say("exclude", run, "--episode=2", "--why=oops")
    say("exclude", run, "--episode=2", "--undo", "--why=fine")
    status, said = say("info", run, "--episodes")
    assert status == 0
    assert "3 episodes" in said and "excluded   1 episodes" in said
    assert "episode-1 excluded; blurred" in said and "oops" not in said
    listed = [line for line in said.splitlines() if line.split()[:1] in (["0"], ["1"], ["2"], ["3"])]
    assert [line.split()[1] for line in listed] == [f"episode-{i}" for i in range(4)]
    assert listed[1].endswith("excluded")
    _, history = say("info", run, "--history")
    assert "oops" in history and "undoes #1; fine" in history


def test_exclude_by_index_uuid_and_undo(run: Path, say: Say) -> None:
    before = files(run)
    assert say("exclude", run, "--episode=episode-3") == (
        1,
        'hilserl data exclude: say why, for whoever looks at this later: --why="the cube was not in view"\n',
    )
    assert say("exclude", run, "--episode=episode-3", "--why=x")[0] == 0
    assert say("exclude", run / "store", "--episode=0", "--why=y")[0] == 0
    assert [c.index for c in open_reader(run).commits()] == [1, 2]
    status, said = say("exclude", run, "--episode=3", "--why=x")
    assert (status, "excluded already (#0: x)" in said) == (1, True)
    assert say("exclude", run, "--episode=3", "--undo")[0] == 0
    assert [c.index for c in open_reader(run).commits()] == [1, 2, 3]
    status, said = say("exclude", run, "--episode=3", "--undo")
    assert (status, "not excluded" in said) == (1, True)
    assert {k: v for k, v in files(run).items() if "annotations" not in k} == before


@pytest.mark.parametrize("name", ["9", "episode-", "nope"])
def test_an_episode_that_is_not_there(run: Path, say: Say, name: str) -> None:
    status, said = say("exclude", run, f"--episode={name}", "--why=x")
    assert status == 1
    assert "4 episodes, 0 to 3" in said


def test_relabel_labels_and_outcome(run: Path, say: Say) -> None:
    status, said = say("relabel", run, "--episode=2", "--success=1:3,5:7", "--outcome=failure", "--why=it slipped")
    assert status == 0 and "success at 1:3, 5:7" in said and "outcome failure" in said
    episode = open_reader(run).read(2)
    assert np.flatnonzero(episode.marked_success).tolist() == [1, 2, 5, 6]
    assert (episode.meta.outcome, float(episode.reward.sum())) == (Outcome.FAILURE, 0.0)
    assert "success  failure" in say("info", run)[1]
    say("relabel", run, "--episode=2", "--undo")
    assert open_reader(run).read(2).meta.outcome is Outcome.SUCCESS
    say("relabel", run, "--episode=2", "--undo")
    assert say("relabel", run, "--episode=2", "--undo")[0] == 1
    assert say("relabel", run, "--episode=2", "--success=", "--why=none of it")[0] == 0
    assert not open_reader(run).read(2).marked_success.any()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--success=3:9", "--why=x"], "frames 0 to 6"),
        (["--success=3-9", "--why=x"], "40:60,75:81"),
        (["--success=1:2"], "--why"),
        (["--undo", "--outcome=failure", "--why=x"], "--undo, or"),
        (["--why=x"], "--undo, or"),
    ],
)
def test_relabel_that_makes_no_sense(run: Path, say: Say, flags: list[str], expected: str) -> None:
    before = files(run)
    status, said = say("relabel", run, "--episode=2", *flags)
    assert (status, expected in said) == (1, True), said
    assert files(run) == before


def test_verify_of_a_whole_store(run: Path, say: Say) -> None:
    before = files(run)
    status, said = say("verify", run)
    assert (status, "4 episodes read, 0 problems" in said) == (0, True), said
    assert files(run) == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed"])
def test_a_damaged_chunk_is_found_settled_and_costs_one_episode(
    run: Path, say: Say, made: ModuleType, task: TaskSpec, damage: str
) -> None:
    path = chunk(run, 1)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        half = len(content) // 2
        path.write_bytes(
            content[:half] + (b"" if damage == "truncated" else bytes([content[half] ^ 1]) + content[half + 1 :])
        )
    status, said = say("verify", run)
    problems = [line for line in said.splitlines() if line.startswith("problem")]
    assert (status, len(problems), "ep_000001" in problems[0]) == (1, 1, True), said
    before = files(run)
    status, said = say("repair", run)
    assert (status, "ep_000001: excluded (#0)" in said) == (0, True), said
    assert before.items() <= files(run).items()  # nothing was removed or changed
    assert say("verify", run)[0] == 0
    reader = open_reader(run)
    assert [c.index for c in reader.commits()] == [0, 2, 3]
    for commit in reader.commits():
        made.assert_same(reader.read(commit), stored(made, task, commit.index))
    assert "nothing to repair" in say("repair", run)[1]
    assert "repair: " in say("info", run)[1]


def test_a_damaged_line_of_the_log_moves_aside_and_its_episode_comes_back(run: Path, say: Say) -> None:
    log = run / "store" / "commits.jsonl"
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    bad = lines[1][:40] + b"\xff\xfe" + lines[1][42:]
    log.write_bytes(b"".join([lines[0], bad, *lines[2:]]))
    status, said = say("info", run)
    assert status == 1 and "this line is no commit" in said
    status, said = say("repair", run)
    assert status == 0 and "1 damaged lines" in said and "ep_000001: was whole" in said
    assert (run / "store" / "commits.damaged").read_bytes() == bad
    assert [json.loads(line) for line in log.read_bytes().splitlines()] == [json.loads(line) for line in lines]
    assert say("verify", run)[0] == 0


def test_a_torn_last_line_is_mended(run: Path, say: Say) -> None:
    log = run / "store" / "commits.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[:-20])
    assert len(open_reader(run).commits()) == 3  # readable, and without the last one
    status, said = say("repair", run)
    assert status == 0 and "ep_000003: was whole" in said, said
    assert [json.loads(line) for line in log.read_bytes().splitlines()] == [
        json.loads(line) for line in whole.splitlines()
    ]
    assert (run / "store" / "commits.damaged").read_bytes() == whole.splitlines()[-1][:-19] + b"\n"


def test_repair_salvages_and_keeps_what_it_cannot_read(run: Path, say: Say, made: ModuleType, task: TaskSpec) -> None:
    first, steps = made.steps(task, 8, 3)
    with EpisodeStore.create_or_open(run / "store", task) as store:
        journal = store.journal(first, made.meta(task, 8))
        journal.add(steps[0])
    shutil.copy(journal.path, journal.path.with_name("journal-x.bin"))
    other = journal.path.with_name("journal-x.bin")
    other.write_bytes(other.read_bytes().replace(b'"spec_fingerprint"', b'"spec_fingerprimt"'))
    assert "journal-episode-8.bin belongs to an episode in progress or interrupted" in say("verify", run)[1]
    status, said = say("repair", run)
    assert status == 0 and "ep_000004: salvaged from a journal" in said, said
    assert "rejected-x.bin: a journal that cannot be read" in said and "journals removed" not in said
    assert open_reader(run).read(4).meta.salvaged
    assert (run / "store" / "rejected-x.bin").stat().st_size > 100
    assert say("verify", run)[0] == 0


def test_repair_waits_for_the_one_who_records(run: Path, say: Say, task: TaskSpec) -> None:
    with EpisodeStore.create_or_open(run / "store", task):
        status, said = say("repair", run)
    assert (status, "one writer" in said) == (1, True)


def test_merge_and_compact(run: Path, say: Say, made: ModuleType, task: TaskSpec, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with EpisodeStore.create_or_open(other / "store", task) as store:
        for seed in (3, 4):
            store.append(made.episode(task, seed, 7, kind="demo"))
    say("exclude", run, "--episode=0", "--why=x")
    say("relabel", run, "--episode=1", "--outcome=timeout", "--why=y")
    before = files(run) | {f"o/{k}": v for k, v in files(other).items()}
    status, said = say("merge", run, other, "--output_dir", tmp_path / "both")
    assert (status, "4 episodes of 2 stores (1 were in several)" in said) == (0, True), said
    assert say("verify", tmp_path / "both")[0] == 0
    assert "demo" in say("info", tmp_path / "both")[1]
    status, said = say("merge", tmp_path / "both", run, "--output_dir", tmp_path / "again")
    assert (status, "4 episodes of 2 stores" in said) == (0, True), said
    status, said = say("compact", tmp_path / "both", "--output_dir", tmp_path / "small")
    assert (status, "4 episodes" in said) == (0, True), said
    small, both = open_reader(tmp_path / "small"), open_reader(tmp_path / "both")
    assert [c.uuid for c in small.commits()] == ["episode-1", "episode-2", "episode-3", "episode-4"]
    assert small.read(0).meta.outcome is Outcome.TIMEOUT
    assert small.read(0).meta.notes["annotated"] == "#1 outcome timeout"
    for commit, origin in list(zip(small.commits(), both.commits(), strict=True))[1:]:
        made.assert_same(small.read(commit), both.read(origin))
    assert say("verify", tmp_path / "small")[0] == 0
    assert before == files(run) | {f"o/{k}": v for k, v in files(other).items()}
    for command in (["compact", run, "--output_dir", tmp_path / "small"], ["merge", run, "--output_dir", other]):
        assert say(*command)[0] == 1


def test_compact_of_a_damaged_episode_leaves_nothing_half_done(run: Path, say: Say, tmp_path: Path) -> None:
    chunk(run, 1).unlink()
    status, said = say("compact", run, "--output_dir", tmp_path / "small")
    assert (status, "ep_000001" in said, "hilserl data repair" in said) == (1, True, True), said
    assert list((tmp_path / "small").iterdir()) == []


def test_merge_names_a_missing_run_and_a_foreign_spec(run: Path, say: Say, made: ModuleType, tmp_path: Path) -> None:
    status, said = say("merge", run, tmp_path / "gone", "--output_dir", tmp_path / "m")
    assert (status, "gone: no such folder" in said) == (1, True)
    with EpisodeStore.create_or_open(tmp_path / "nine" / "store", made.task(size_px=9)):
        pass
    status, said = say("merge", run, tmp_path / "nine", "--output_dir", tmp_path / "m")
    assert (status, "size_px" in said) == (1, True)
    assert not (tmp_path / "m").exists()


def test_show_draws_a_sheet(run: Path, say: Say, tmp_path: Path) -> None:
    import cv2

    status, said = say("show", run, "--episode=3", f"--output={tmp_path / 'x.png'}")
    assert status == 0 and str(tmp_path / "x.png") in said
    picture = cv2.imread(str(tmp_path / "x.png"))
    assert picture is not None and picture.shape[1] > 1000
    blue_of_the_policy = (np.abs(picture[..., ::-1].astype(int) - [0x00, 0x72, 0xB2]).sum(-1) < 10).mean()
    assert blue_of_the_policy > 0.002


def test_show_makes_a_film_that_a_browser_plays(run: Path, say: Say, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    assert say("show", run, "--episode=episode-3", f"--output={tmp_path / 'x.mp4'}")[0] == 0
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert len(list(container.decode(video=0))) == 7 + 10  # 7 steps have 8 frames; the last one stays for a second


@pytest.mark.parametrize("output", ["x.gif", "nowhere/x.png", "x"])
def test_show_says_what_it_can_write(run: Path, say: Say, tmp_path: Path, output: str) -> None:
    status, said = say("show", run, "--episode=3", f"--output={tmp_path / output}")
    assert (status, ".mp4 (film)" in said) == (1, True)


COMMANDS = {
    "info": [], "verify": [], "repair": [], "exclude": ["--episode=0", "--why=x"],
    "relabel": ["--episode=0", "--success=1:2", "--why=x"], "merge": ["--output_dir=OUT"],
    "compact": ["--output_dir=OUT"], "show": ["--episode=0", "--output=OUT.png"],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_folders_end_in_a_sentence(run: Path, say: Say, tmp_path: Path, command: str) -> None:
    flags = [f.replace("OUT", str(tmp_path / "out")) for f in COMMANDS[command]]
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "photo.jpg").touch()
    newer = run / "store" / "store.json"
    newer.write_text(newer.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    for folder, expected in ((tmp_path / "foreign", "photo.jpg"), (run, "version 99"), (tmp_path / "no", "no such")):
        before = files(tmp_path)
        status, said = say(command, folder, *flags)
        assert (status, expected in said) == (1, True), said
        assert files(tmp_path) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_flags_are_refused(run: Path, say: Say, command: str) -> None:
    with pytest.raises(SystemExit) as stop:
        say(command, run, "--colour=red", *COMMANDS[command])
    assert stop.value.code == 2
