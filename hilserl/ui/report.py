"""The run report: one HTML file that opens without a server or a network, and its pictures as PNGs beside it."""

from __future__ import annotations

import base64
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hilserl.metrics import wilson
from hilserl.runs import write_text
from hilserl.ui import plots
from hilserl.ui.again import commands
from hilserl.ui.coach import afterwards
from hilserl.ui.lines import lines
from hilserl.ui.run_data import RunData, finished, read_run

RECENT = 20  # operated episodes
STYLE = Path(__file__).with_name("report.css")
MAP_WORDS = {
    "object": "Where the object lay, and how the episodes from there went.",
    "picture": "Where the object lay in the front camera's picture, and how the episodes from there went. After eight "
    "successes with a grasp it is known where on the table that is.",
    "start": "Where the arm started. The object was not found in the camera: say what colour it has, for example "
    "<code>--coverage.object.hue_deg=120</code> for green.",
}


def write_report(run: Path, progress: Callable[[int], Any] = lambda _: None) -> Path:
    """Write `report.html` and `report/*.png` into a run; return the path of the page.

    Raises:
        UserError: the run has no episodes.
    """
    data = read_run(run, progress)
    pictures = {"progress": plots.progress(data), "episodes": plots.strip(data)} if data.attempts else {}
    if data.attempts:
        pictures["coverage"] = plots.area(data.coverage)
    if any((a.p_success == a.p_success).any() for a in data.attempts):  # not NaN
        pictures["classifier"] = plots.classifier(data)
    if any("health/action" in row for row in data.rows):
        pictures["learning"] = plots.learning(data)
    pngs = {name: plots.png(figure) for name, figure in pictures.items()}
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    for name, content in pngs.items():
        (folder / f"{name}.png").write_bytes(content)
    return write_text(run / "report.html", page(data, pngs))


def page(data: RunData, pngs: Mapping[str, bytes]) -> str:
    """Return the whole page; the pictures travel inside it."""
    title = f"{data.path.absolute().name}: run report"
    sections = [
        _heading(data),
        _tiles(data),
        _section("Progress", _picture(pngs, "progress"), _picture(pngs, "episodes")),
        f'<div class="pair">{_section("Where", _picture(pngs, "coverage"), _words(MAP_WORDS[data.coverage.of]))}'
        f"{_section('The classifier, by session', _picture(pngs, 'classifier'), _words(DRIFT))}</div>"
        if data.attempts
        else "",
        _section("Learning", _picture(pngs, "learning")) if "learning" in pngs else "",
        _section("How it stands", _table([], [(label, escape(text)) for label, text in lines(data)])),
        _section("What the coach said, and what came of it", _hints(data)),
        _section("What happened", _events(data)),
        _section("Go on", _commands(data)),
        _section("Settings and versions", _settings(data)),
    ]
    body = "\n".join(s for s in sections if s)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>\n{STYLE.read_text()}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


DRIFT = (
    "One column a session. When the middle of a group moves from one session to the next, the light or a camera has "
    "changed: look at both, and train the classifier with frames of today."
)


def _heading(data: RunData) -> str:
    last = max((c.started_unix_s for c in data.commits), default=0.0)
    minutes = f"{data.minutes[-1]:.0f} minutes at the arm" if data.attempts else "no training yet"
    facts = (
        f"task {data.task.name} · {len(data.operated)} operated episodes · {minutes} · last used "
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(last))}"
    )
    return f"<header><h1>{escape(data.path.absolute().name)}</h1><p>{escape(facts)}</p></header>"


def _tiles(data: RunData) -> str:
    recent, blocks = [a.stripe for a in data.operated[-RECENT:]], data.blocks()
    tiles = []
    if blocks:
        newest, first = blocks[-1], blocks[0]
        was = f"at first {first.wins} of {first.n}" if len(blocks) > 1 else "the policy that it began with"
        tiles.append(_tile(f"untouched ({newest.kind})", newest.wins, newest.n, was, main=True))
    if recent:
        steps, human = sum(s.steps for s in recent), sum(s.human_steps for s in recent)
        tiles.append(_tile(f"last {len(recent)} operated", sum(s.won for s in recent), len(recent), "with your help"))
        tiles.append(_card("driven by you", f"{human / steps:.0%}", f"of the steps of the last {len(recent)}"))
        tiles.append(_card("one episode", f"{steps / len(recent) / data.task.rate_hz:.1f} s", "on average"))
    cut_short = len(data.commits) - len(finished(data.commits))
    tiles.append(_card("episodes", str(len(data.commits)), f"in the store, {cut_short} of them cut short"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _tile(name: str, wins: int, n: int, below: str, *, main: bool = False) -> str:
    low, high = wilson(wins, n)
    span = f"{wins} of {n}, 95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    return _card(name, f"{wins / n:.0%}", f"{span}; {below}", main=main)


def _card(name: str, value: str, below: str, *, main: bool = False) -> str:
    kind = "tile main" if main else "tile"
    return f'<div class="{kind}"><h3>{escape(name)}</h3><b>{escape(value)}</b><p>{escape(below)}</p></div>'


def _hints(data: RunData) -> str:
    given = [entry for entry in data.journal if entry["event"] == "hint"]
    if not given:
        return _words("Nothing: no rule applied.")
    rows = []
    for row in afterwards(given, [a.stripe for a in data.attempts]):
        rows.append((escape(row["text"]), _stretch(*row["before"]), _stretch(*row["after"])))
    return _table(["hint", "10 operated episodes before", "10 after"], rows)


def _stretch(wins: int, share: float, n: int) -> str:
    return f"{wins} of {n}, {share:.0%} by you" if n else "none"


def _events(data: RunData) -> str:
    rows = []
    for entry in data.journal:
        details = {k: v for k, v in entry.items() if k not in ("unix_s", "event")}
        if entry["event"] == "hint":
            continue
        when = time.strftime("%m-%d %H:%M", time.localtime(entry["unix_s"]))
        text = escape(", ".join(f"{k} {v}" for k, v in details.items() if k != "command"))
        if "command" in details:
            text += f"<details><summary>command</summary><code>{escape(details['command'])}</code></details>"
        rows.append((when, escape(entry["event"]), text))
    return _table([], rows) if rows else _words("Nothing is in the journal.")


def _commands(data: RunData) -> str:
    last = data.commits[-1].index if data.commits else 0
    found = commands(data.path, data.journal, len(data.operated))
    found.append(("see an episode", f"hilserl data show {data.path} --episode={last} --output=episode.mp4"))
    return _table([], [(escape(what), f"<code>{escape(command)}</code>") for what, command in found])


def _settings(data: RunData) -> str:
    names = ("hilserl", "torch", "lerobot", "numpy", "zarr")
    versions = ", ".join(f"{name} {version(name)}" for name in names) + f", Python {platform.python_version()}"
    detectors = sorted({c.detector_version for c in data.commits if c.detector_version})
    rows = [("versions", escape(versions)), ("task spec", f"<code>{data.task.fingerprint}</code>")]
    rows += [("classifier", f"<code>{escape(', '.join(detectors))}</code>")] if detectors else []
    flags = escape(json.dumps(data.flags, indent=1))
    shown = f"<details><summary>all flags</summary><pre>{flags}</pre></details>" if data.flags else ""
    return _table([], rows) + shown


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _picture(pngs: Mapping[str, bytes], name: str) -> str:
    if name not in pngs:
        return ""
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(pngs[name]).decode()}">'


def _words(text: str) -> str:
    return f'<p class="words">{text}</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{top}{body}</table>"
