"""The label page: a timeline of every labelled episode, edges to drag, keys, and the next disagreement."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hilserl.ui.label_set import LabelSet
from hilserl.ui.web import answering, page


def label_routes(labels: LabelSet) -> list[BaseRoute]:
    """Return what the page asks for. Changes answer with the episode as it is now, or 400 and why not."""

    async def overview(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(labels.overview))

    return [
        Route("/", page("label.html")),
        Route("/api/labels", overview),
        film_route(labels),
        Route(
            "/api/label",
            answering(lambda asked: labels.change(asked["uuid"], asked["label"], asked["intervals"])),
            methods=["POST"],
        ),
        Route("/api/drop", answering(lambda asked: labels.drop(asked["uuid"])), methods=["POST"]),
        Route("/api/undo", answering(lambda _: labels.undo()), methods=["POST"]),
    ]


def film_route(labels: LabelSet) -> Route:
    """Return what answers with all frames of an episode as one picture."""

    async def film(request: Request) -> Response:
        where = request.path_params
        picture = await run_in_threadpool(labels.film, where["uuid"], where["camera"])
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "max-age=86400"})

    return Route("/api/film/{uuid}/{camera}.jpg", film)
