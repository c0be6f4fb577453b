"""The explorer over HTTP: the page, and JSON questions to `Explorer`."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from textvae.errors import ConfigError, UserError, extra
from textvae.serve.explorer import Explorer

if TYPE_CHECKING:
    from starlette.requests import Request

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""The page takes nothing from elsewhere, sends nothing elsewhere, and stands in no other page."""

LARGEST_QUESTION = 10_000_000
"""Bytes."""

GRACE = 3
"""Seconds that a question under way has to come to its next batch after Ctrl-C."""

EVERYWHERE = ("0.0.0.0", "::")
"""Hosts that mean every address of the machine, whatever it is called."""


def application(explorer: Explorer, host: str) -> Any:
    """The ASGI application: `GET /` is the page, `POST /api/WAY` a question, answered as `Explorer.answer` does.

    A question without an answer is told as `{"error": str}` with status 400, one that another site's page asks with 403.

    Raises:
        PackageError: starlette is not installed.
    """
    with extra("serve", "the explorer"):
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.exceptions import HTTPException
        from starlette.responses import HTMLResponse, JSONResponse, Response
        from starlette.routing import Route
    html = files("textvae.serve").joinpath("page.html").read_text(encoding="utf-8")

    def refused(message: str, status: int, more: Mapping[str, str] | None = None) -> Response:
        return JSONResponse({"error": message}, status_code=status, headers={**HEADERS, **(more or {})})

    async def page(request: Request) -> Response:
        foreign = _foreign(request, host)
        return refused(foreign, 403) if foreign else HTMLResponse(html, headers=HEADERS)

    async def ask(request: Request) -> Response:
        foreign = _foreign(request, host)
        if foreign:
            return refused(foreign, 403)
        try:
            question = _question(await _body(request))
            answer = await run_in_threadpool(explorer.answer, request.path_params["way"], question)
        except UserError as error:
            return refused(str(error), 400)
        return JSONResponse(answer, headers=HEADERS)

    async def defect(_: Request, error: Exception) -> Response:
        return refused(f"this question met a defect of textvae ({type(error).__name__}), which its terminal tells of", 500)

    async def misdirected(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = f"{request.method} {request.url.path} is no question: the page is at GET /, questions at POST /api/sample and its like"
        return refused(told, error.status_code, error.headers)

    routes = [Route("/", page), Route("/api/{way}", ask, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers={HTTPException: misdirected, Exception: defect})


def _foreign(request: Request, host: str) -> str | None:
    """Why a request comes from another site's page, by way of this machine's browser; None where it does not."""
    mine = {host, "localhost", "127.0.0.1", "::1"}
    if host not in EVERYWHERE and request.url.hostname not in mine:
        return f"this page is not called {request.url.hostname}: open the address that textvae serve printed"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return f"questions from {origin} are not answered"
    if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
        return "a question is sent as application/json"
    return None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_QUESTION:
            raise ConfigError(f"the question has more than {LARGEST_QUESTION:,} bytes: ask of fewer texts at once")
    return bytes(body)


def _question(body: bytes) -> dict[str, Any]:
    try:
        question = json.loads(body or b"{}")
        json.dumps(question, ensure_ascii=False).encode()  # halves of characters, which nobody could be answered with
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the question is no JSON of whole characters ({error})") from None
    if not isinstance(question, dict):
        raise ConfigError("the question is no JSON object")
    return question


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at which browsers may knock from now on; port 0 is any free one.

    Raises:
        ConfigError: the port is taken, or the host is none of this machine.
        PackageError: starlette or uvicorn is not installed.
    """
    with extra("serve", "the explorer"):
        import starlette.applications  # noqa: F401
        import uvicorn  # noqa: F401
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigError(f"{host} is no address of this machine ({error.strerror}): give another --host") from None
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, port))
            opened.listen()
        except OSError as error:
            flag = "host" if error.errno == errno.EADDRNOTAVAIL else "port"
            hint = "" if flag == "host" else " (0: any that is free)"
            raise ConfigError(f"{host}, port {port}, cannot be served ({error.strerror}): give another --{flag}{hint}") from None
        yield opened


def address(host: str, opened: socket.socket) -> str:
    """What to open in a browser."""
    name = "localhost" if host in EVERYWHERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{opened.getsockname()[1]}/"


def serve(explorer: Explorer, host: str, opened: socket.socket) -> None:
    """Serve the explorer at a socket that listens, until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(application(explorer, host), log_level="error", lifespan="off", timeout_graceful_shutdown=GRACE)
    server = uvicorn.Server(config)
    ended = server.handle_exit

    def stop(number: int, frame: Any) -> None:
        explorer.stop()
        ended(number, frame)

    server.handle_exit = stop  # type: ignore[assignment, method-assign]
    with suppress(KeyboardInterrupt):  # how it is meant to end
        server.run(sockets=[opened])
