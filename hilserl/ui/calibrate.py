"""The calibration page: threshold and hold against false and missed successes, and a grid of the surest mistakes."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from classifier.calibration_set import CalibrationSet
from data.errors import UserError
from data.labels import add, remove
from data.store.annotations import SUCCESS, UNSURE
from hilserl.ui.label import film_route
from hilserl.ui.label_set import LabelSet
from hilserl.ui.web import answering, page

AROUND = 2  # frames on either side of a mistake that are decided about with it


def calibrate_routes(judged: CalibrationSet, labels: LabelSet) -> list[BaseRoute]:
    """Return what the page asks for; what cannot be done is answered with 400 and why not."""

    def state(threshold: float | None = None, hold: int | None = None) -> dict[str, Any]:
        chosen = judged.moved(threshold, hold, hold)
        scores = judged.scores(chosen)
        return {
            "version": labels.version,
            "threshold": chosen.threshold,
            "hold": chosen.hold,
            "kept": {"threshold": judged.chosen.threshold, "hold": judged.chosen.hold},
            "episodes": scores.episodes,
            "false": scores.false_successes,
            "missed": scores.missed,
            "successes": scores.successes,
            "delays_s": [d / judged.report.rate_hz for d in scores.delays_frames],
            "gates": [f"{g.name} in [{g.low:.3g}, {g.high:.3g}]" for g in chosen.gates],
            "warnings": judged.report.warnings(),
        }

    def everything() -> dict[str, Any]:
        shown = labels.overview()
        return {
            **state(),
            "curve": judged.curve(),
            "mistakes": [vars(m) for m in judged.mistakes()],
            **{k: shown[k] for k in ("cameras", "size_px", "columns")},
        }

    def keep(asked: dict[str, Any]) -> dict[str, Any]:
        judged.keep(asked["threshold"], asked["hold"], asked["hold"])
        return everything()

    def decide(asked: dict[str, Any]) -> dict[str, Any]:
        """Relabel: the classifier is right. Ambiguous: it counts neither way. Keep: the person is right."""
        uuid, frame = asked["uuid"], int(asked["frame"])
        now = labels.find(uuid)
        begin, end = max(0, frame - AROUND), min(now["frames"], frame + AROUND + 1)
        if asked["verdict"] == "ambiguous":
            labels.change(uuid, UNSURE, add(now["labels"][UNSURE], begin, end))
        elif asked["verdict"] == "relabel":
            marked = now["labels"][SUCCESS]
            within = any(a <= frame < b for a, b in marked)
            labels.change(uuid, SUCCESS, (remove if within else add)(marked, begin, end))
        elif asked["verdict"] != "keep":
            raise UserError(f"{asked['verdict']!r} is no decision; accepted are relabel, keep and ambiguous")
        judged.refresh()
        return everything()

    async def whole(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(everything))

    return [
        Route("/", page("calibrate.html")),
        Route("/api/calibration", whole),
        Route("/api/try", answering(lambda asked: state(asked["threshold"], asked["hold"])), methods=["POST"]),
        Route("/api/keep", answering(keep), methods=["POST"]),
        Route("/api/decide", answering(decide), methods=["POST"]),
        film_route(labels),
    ]
