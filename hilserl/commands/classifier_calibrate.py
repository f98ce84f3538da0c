"""`hilserl classifier calibrate`: choose threshold and hold count; look at the worst mistakes and decide about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from classifier.calibration_set import CalibrationSet
from classifier.view import ClassifierView
from data.store.reader import open_reader
from hilserl.flags import parse_flags
from hilserl.ui.address import UiArgs, claim
from hilserl.ui.calibrate import calibrate_routes
from hilserl.ui.label_set import LabelSet
from hilserl.ui.web import application, serve


@dataclass(frozen=True)
class CalibrateArgs:
    """Flags of `hilserl classifier calibrate`. Without a threshold or hold it opens the page."""

    output_dir: Path  # the run whose classifier/ is calibrated on the labelled episodes of its store
    threshold: float | None = None  # keep this one instead, and say what it does
    hold: int | None = None  # this many frames have to reach it ...
    window: int | None = None  # ... of so many in a row; none: all of them
    auto: bool = False  # choose again, for the labels as they are now: lowest threshold without a false success
    ui: UiArgs = field(default_factory=UiArgs)


def main(argv: Sequence[str]) -> int:
    """Print what thresholds do; keep the one asked for, or serve the page until Ctrl-C."""
    args = parse_flags(CalibrateArgs, argv)
    reader = open_reader(args.output_dir)
    view = ClassifierView(args.output_dir / "classifier", reader.spec)
    judged = CalibrationSet(reader, view, args.output_dir / "classifier")
    if args.auto:
        judged.choose()
    elif (args.threshold, args.hold, args.window) != (None, None, None):
        judged.keep(args.threshold, args.hold, args.window)
    print(judged.table())
    if args.auto or args.threshold is not None or args.hold is not None or not args.ui.enabled:
        return 0
    address = claim(args.ui)
    print(address.greeting("the calibration"), flush=True)
    if args.ui.open:
        address.show()
    serve(application(calibrate_routes(judged, LabelSet(reader, (), view)), address), address)
    return 0
