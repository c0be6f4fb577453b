"""The explorer over HTTP: the page, and JSON questions to `Explorer`."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from typing import Any

from textvae.errors import ConfigError, UserError, extra
from textvae.serve.explorer import Explorer

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""The page takes nothing from elsewhere, and sends nothing elsewhere."""

LARGEST_QUESTION = 10_000_000
"""Bytes."""


def application(explorer: Explorer) -> Any:
    """The ASGI application: `GET /` is the page, `POST /api/WAY` a question, answered as `Explorer.answer` does.

    A question without an answer is told as `{"error": str}` with status 400. Raises `PackageError` without starlette.
    """
    with extra("serve", "the explorer"):
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.requests import Request
        from starlette.responses import HTMLResponse, JSONResponse
        from starlette.routing import Route
    html = files("textvae.serve").joinpath("page.html").read_text(encoding="utf-8")

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(html, headers=HEADERS)

    async def ask(request: Request) -> JSONResponse:
        try:
            question = _question(await request.body())
            answer = await run_in_threadpool(explorer.answer, request.path_params["way"], question)
        except UserError as error:
            return JSONResponse({"error": str(error)}, status_code=400, headers=HEADERS)
        return JSONResponse(answer, headers=HEADERS)

    return Starlette(routes=[Route("/", page), Route("/api/{way}", ask, methods=["POST"])])


def _question(body: bytes) -> dict[str, Any]:
    if len(body) > LARGEST_QUESTION:
        raise ConfigError(f"the question has {len(body):,} bytes: ask of fewer texts at once")
    try:
        question = json.loads(body or b"{}")
    except ValueError as error:
        raise ConfigError(f"the question is no JSON ({error})") from None
    if not isinstance(question, dict):
        raise ConfigError("the question is no JSON object")
    return question


def serve(explorer: Explorer, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the explorer until Ctrl-C; `ready` is told the address once it can be opened.

    Raises:
        ConfigError: the port is taken, or the host is none of this machine.
        PackageError: starlette or uvicorn is not installed.
    """
    with extra("serve", "the explorer"):
        import uvicorn
    served = application(explorer)
    with _bound(host, port) as listening:
        config = uvicorn.Config(served, log_level="warning", lifespan="off")
        ready(f"http://{'[' + host + ']' if ':' in host else host}:{listening.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # how it is meant to end
            uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{host} is no address of this machine ({error.strerror}): give another --host") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # from here on a browser that is told the address waits, and is not turned away
    except OSError as error:
        listening.close()
        raise ConfigError(f"{host}, port {port}, cannot be served ({error.strerror}): give another --port (0: any that is free)") from None
    return listening
