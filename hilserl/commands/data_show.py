"""`hilserl data show`: a picture of an episode: contact sheet (.png) or film (.mp4)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str]) -> int:
    """Draw who acted, p(success), reward, marked success and time over the frames."""
    parser = argparse.ArgumentParser(prog="hilserl data show", description=__doc__)
    parser.add_argument("run", type=Path, help="run, store or merge, e.g. runs/demo")
    parser.add_argument(
        "--episode", required=True, help="index or uuid, as `hilserl data info RUN --episodes` lists it"
    )
    parser.add_argument("--output", type=Path, required=True, help="x.png: contact sheet; x.mp4: film, for any browser")
    args = parser.parse_args(list(argv))
    from tqdm import tqdm

    from data.film import contact_sheet, film, require_writable_name
    from data.lint import lint
    from data.store.reader import open_reader

    kind = require_writable_name(args.output)
    reader = open_reader(args.run)
    commit = reader.find(args.episode)
    episode = reader.read(commit)
    title = f"{args.run.resolve().name}, episode {commit.index}"
    if kind == ".png":
        contact_sheet(episode, title, args.output)
    else:
        with tqdm(total=len(episode) + 1, desc="drawing", unit="frame", leave=False) as bar:
            film(episode, title, args.output, reader.spec.rate_hz, bar.update)
    for finding in lint(episode, reader.spec):
        print(f"{finding.severity}: {finding}")
    print(args.output)
    return 0
