"""The application: requests → answers, all errors as JSON. Needs the extra `serve`.

| request | answer |
|---|---|
| `GET /` | the page |
| `GET /api/model` | name, categories, number of coefficients, limits |
| `POST /api/predict` | bytes of an image file → `id`, sizes, `objects` |
| `GET /api/images/ID/picture` | JPEG of `width` x `height`, in whose pixels all places are |
| `GET /api/images/ID/masks?coefficients=K` | `polygons` and `iou` of each object |
| `GET /api/images/ID/explain?query=Q` | `locations` and `weights` of what the query read |

Errors are `{"error": "…"}`: 400 a query string, 403 another site, 404 an image that is no longer
kept, 408 too slow, 413 too many bytes, 422 no image, 503 too many requests at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from solq_train.serve.guard import Application, Guard
from solq_train.serve.inference import ForgottenError, Inference
from solq_train.serve.worker import BusyError, Worker

PAGE = {
    "/": ("page.html", "text/html"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/server.js": ("server.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/list.js": ("list.js", "text/javascript"),
    "/paths.js": ("paths.js", "text/javascript"),
}
UPLOAD_SECONDS = 60.0
RETRY_SECONDS = "2"

Endpoint = Callable[[Request], Awaitable[Response]]
ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]


def build_app(inference: Inference, worker: Worker, *, host: str, most_bytes: int) -> Application:
    """The application for a server that listens on `host`, behind its guard."""
    api = Api(inference, worker, most_bytes)
    routes = [Route(path, _static(*content)) for path, content in PAGE.items()]
    routes += [
        Route("/api/model", api.model),
        Route("/api/predict", api.predict, methods=["POST"]),
        Route("/api/images/{image}/picture", api.picture),
        Route("/api/images/{image}/masks", api.masks),
        Route("/api/images/{image}/explain", api.explain),
    ]
    handlers: dict[type[Exception], ErrorHandler] = {
        HTTPException: _http_error,
        ForgottenError: _forgotten,
        BusyError: _busy,
        Exception: _internal,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers), host)


class Api:
    """What the page asks."""

    def __init__(self, inference: Inference, worker: Worker, most_bytes: int) -> None:
        self.inference = inference
        self.worker = worker
        self.most_bytes = most_bytes

    async def model(self, _request: Request) -> Response:
        """The model and the limits."""
        return JSONResponse({**self.inference.about(), "most_bytes": self.most_bytes})

    async def predict(self, request: Request) -> Response:
        """The objects in the image that the body is."""
        with self.worker.place():
            data = await self._upload(request)
            try:
                found = await self.worker.call(self.inference.predict, data)
            except ValueError as error:
                raise HTTPException(422, str(error)) from error
        return JSONResponse(found)

    async def picture(self, request: Request) -> Response:
        """The image, for the page to draw on."""
        with self.worker.place():
            data = await self.worker.call(self.inference.picture, _image(request))
        return Response(data, media_type="image/jpeg")

    async def masks(self, request: Request) -> Response:
        """The masks of fewer coefficients."""
        return await self._ask(request, self.inference.masks, _number(request, "coefficients"))

    async def explain(self, request: Request) -> Response:
        """The sampling points of a query."""
        return await self._ask(request, self.inference.explain, _number(request, "query"))

    async def _ask(
        self, request: Request, function: Callable[[str, int], dict[str, object]], number: int
    ) -> Response:
        with self.worker.place():
            try:
                return JSONResponse(await self.worker.call(function, _image(request), number))
            except ValueError as error:
                raise HTTPException(400, str(error)) from error

    async def _upload(self, request: Request) -> bytes:
        """The body, given up as soon as it is too long or takes too long."""
        announced = request.headers.get("content-length", "0")
        if int(announced) > self.most_bytes:  # the server has checked that it is a number
            raise self._too_long()
        data = bytearray()
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > self.most_bytes:
                        raise self._too_long()
        except TimeoutError as error:
            raise HTTPException(408, f"the upload took over {UPLOAD_SECONDS:g} seconds") from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the upload ended early") from error
        return bytes(data)

    def _too_long(self) -> HTTPException:
        # What is left of the body is not read: the connection cannot be used again.
        most = f"{self.most_bytes / 1e6:g} MB"
        return HTTPException(413, f"an image may have at most {most}", {"connection": "close"})


def _static(name: str, media_type: str) -> Endpoint:
    content = (files("solq_train.serve") / "page" / name).read_bytes()

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


def _image(request: Request) -> str:
    return str(request.path_params["image"])


def _number(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    # int() takes more than digits, and no end of them.
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise HTTPException(400, f"{name} must be a whole number, got {text[:40]!r}")
    return int(text)


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _forgotten(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


async def _busy(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503, {"retry-after": RETRY_SECONDS})


async def _internal(_request: Request, error: Exception) -> Response:
    # The server logs where it came from.
    return JSONResponse({"error": f"the server failed: {error}"}, 500)
