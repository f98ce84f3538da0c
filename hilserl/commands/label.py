"""`hilserl label`: review and fix success labels on a timeline in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classifier.detector import RECORD
from classifier.view import ClassifierView
from data.errors import UserError
from data.store.reader import open_reader
from hilserl.flags import parse_flags
from hilserl.ui.address import WebArgs, claim
from hilserl.ui.label import label_routes
from hilserl.ui.label_set import LabelSet
from hilserl.ui.web import application, serve


@dataclass(frozen=True)
class LabelArgs:
    """Flags of `hilserl label`."""

    output_dir: Path  # the run whose store holds the labelled episodes
    classifier: Path | None = None  # whose opinion is shown beside; none: the run's own, if it has one
    stages: tuple[str, ...] = ()  # further labels of the task, e.g. grasped,placed
    ui: WebArgs = field(default_factory=WebArgs)


def main(argv: Sequence[str]) -> int:
    """Serve the page until Ctrl-C; every change is kept at once."""
    args = parse_flags(LabelArgs, argv)
    reader = open_reader(args.output_dir)
    path = args.classifier or args.output_dir / "classifier"
    view = ClassifierView(path, reader.spec) if args.classifier or (path / RECORD).exists() else None
    labels = LabelSet(reader, args.stages, view)
    if not labels.commits():
        raise UserError(
            f"{args.output_dir} holds no labelled episode. Record some: hilserl record --purpose=classifier"
        )
    address = claim(args.ui)
    print(address.greeting("the labels"), flush=True)
    if args.ui.open:
        address.show()
    serve(application(label_routes(labels), address), address)
    return 0
