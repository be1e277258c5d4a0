"""The page and its requests, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import jinja2
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from robustcmr.errors import DataError, UserError
from robustcmr.files import fitting, parse_json
from robustcmr.review.guard import App, Guard
from robustcmr.review.names import reviewer_name
from robustcmr.review.pictures import MissingPictureError, Pictures
from robustcmr.review.state import Given, RequestError, Review, Undone

logger = logging.getLogger("robustcmr")

_NO_STORE = {"cache-control": "no-store"}
_PICTURE = {"cache-control": "private, max-age=3600"}


def review_app(review: Review, pictures: Pictures, token: str, load_urls: bool = False) -> App:
    """Return the application.

    Args:
        review: the sample and its labels.
        pictures: of the sample.
        token: first part of every path.
        load_urls: whether the browser may load pictures from other servers.
    """
    style = f"{_report_style()}\n{_file('page.css')}"
    texts = {
        "/": ("text/html", _file("page.html")),
        "/page.css": ("text/css", style),
        "/page.js": ("text/javascript", _file("page.js")),
    }

    async def text(request: Request) -> Response:
        kind, content = texts[request.scope["path"]]
        return Response(content, media_type=kind, headers=_NO_STORE)

    async def state(request: Request) -> Response:
        by = request.query_params.get("by")
        return await _answer(
            lambda: review.state(None if by is None else reviewer_name(by), _second(request))
        )

    async def give(request: Request) -> Response:
        body = await request.body()
        return await _answer(lambda: review.give(_parsed(request, body, Given), _second(request)))

    async def take_back(request: Request) -> Response:
        body = await request.body()
        return await _answer(lambda: review.take_back(_parsed(request, body, Undone), _second(request)))

    async def picture(request: Request) -> Response:
        place = review.place(request.path_params["key"])
        if place is None:
            return _sentence("this sample has no such picture", 404)
        try:
            data = await asyncio.to_thread(pictures.get, place)
        except MissingPictureError as error:
            return _sentence(str(error), 404)
        return Response(data, media_type="image/jpeg", headers=_PICTURE)

    routes = [
        *(Route(path, text) for path in texts),
        Route("/state", state),
        Route("/verdict", give, methods=["POST"]),
        Route("/undo", take_back, methods=["POST"]),
        Route("/picture/{key}", picture),
    ]
    return Guard(Starlette(routes=routes), token, load_urls)


async def _answer(work: Callable[[], dict[str, Any]]) -> Response:
    """Answer with the JSON that a function returns, or with the sentence of its error."""
    try:
        return JSONResponse(await run_in_threadpool(work), headers=_NO_STORE)
    except DataError as error:  # the file cannot be read or written: nothing was lost, and it can be repaired
        logger.warning("%s", error)
        return _sentence(str(error), 503)
    except RequestError as error:
        return _sentence(str(error), 404)
    except UserError as error:
        return _sentence(str(error), 400)


def _parsed(request: Request, body: bytes, schema: Any) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise UserError("the request is not JSON; load the page again")
    try:
        return fitting(parse_json(body.decode("utf-8")), schema)
    except ValueError as error:
        raise UserError(f"the request does not fit: {error}") from error


def _second(request: Request) -> bool:
    return request.query_params.get("second") == "1"


def _sentence(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers=_NO_STORE)


def _report_style() -> str:
    """The style of reports; read here, as the module of their pages loads what draws charts."""
    templates = jinja2.Environment(loader=jinja2.PackageLoader("robustcmr.reporting"), autoescape=False)
    return templates.get_template("page.css").render()


def _file(name: str) -> str:
    return files("robustcmr.review").joinpath(name).read_text(encoding="utf-8")
