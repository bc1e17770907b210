"""`headcount serve` and `headcount annotate`: the application, its gate, its processes.

What is unusual: a client is promised nothing that it might not get. What is accepted is counted within the deadline;
what would have to wait longer is refused at once with 503 and when to come again. A page of another site can neither
ask nor read: there are no CORS headers, and the Host and Origin of a request must be this server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headcount import __version__
from headcount.datasets.annotations import PointsError
from headcount.io.images import MediaError
from headcount.regions.region import RegionError
from headcount.server.batching import Full
from headcount.server.routes import ERRORS, add_counting, add_project, add_upkeep, add_videos
from headcount.server.service import KEY, METRICS, Refused, ServeSettings, Service
from headcount.server.uploads import VideoRefused
from headcount.server.video_jobs import Full as JobsFull

log = logging.getLogger("headcount")
SETTINGS = "HEADCOUNT_SERVE"  # environment: the settings, as JSON, for the processes of --workers
UPLOADS = 16  # bodies that may be on their way in at once
DRAINED = 2_000_000  # bytes that are still taken of a body that is refused
SILENCE = 30.0  # seconds without a byte after which a body is given up
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")  # what is answered without a key
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def create_app(settings: ServeSettings) -> FastAPI:
    """The application. Raises ValueError, one line, for a model or a folder that cannot be used."""
    service = Service(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.start)
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="headcount",
        version=__version__,
        description="Counts people in photos and videos.",
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        responses=ERRORS,
    )
    app.state.service = service
    add_errors(app)
    add_counting(app, service)
    add_videos(app, service)
    add_project(app, service)
    add_upkeep(app, service)
    app.add_middleware(Gate, service=service)
    return app


def add_errors(app: FastAPI) -> None:
    """Each error that is foreseen is one line of JSON; the gate says the others."""

    def say(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(reason.split())}, status, headers)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return say(error.status, error.reason, error.headers)

    @app.exception_handler(Full)
    async def full(request: Request, error: Full) -> JSONResponse:
        return say(503, str(error), {"Retry-After": str(max(1, round(error.seconds)))})

    @app.exception_handler(JobsFull)
    async def jobs_full(request: Request, error: JobsFull) -> JSONResponse:
        return say(503, "busy: too many videos are waiting; try again", {"Retry-After": "60"})

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return say(422, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}"[:300])

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        return say(error.status_code, str(error.detail), dict(error.headers or {}))

    for kind, status in {MediaError: 415, VideoRefused: 415, PointsError: 409, RegionError: 422}.items():

        @app.exception_handler(kind)
        async def known(request: Request, error: Exception, status: int = status) -> JSONResponse:
            return say(status, str(error))


class Gate:
    """Before anything else is looked at: who asks, from where, and how much is sent. And afterwards: the headers, and
    what the meter is told."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service
        self.uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        sends = scope["method"] in ("POST", "PUT")
        body = Body(receive, self.limit(scope), self.too_large(scope))

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if sends and status >= 400:
                    await body.drain()
                own = {name.lower() for name, _ in message["headers"]}
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in own)]
            await send(message)

        try:
            self.check(scope)
            self.uploads += sends
            try:
                await self.app(scope, body if sends else receive, answer)
            finally:
                self.uploads -= sends
        except Refused as error:
            await JSONResponse({"error": error.reason}, error.status, error.headers)(scope, receive, answer)
        except Exception:  # what was not foreseen says nothing of our insides
            log.exception("%s %s", scope["method"], scope["path"])
            if not status:
                reason = "something went wrong here; the server's log says what"
                await JSONResponse({"error": reason}, 500)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # not what the client wrote, which has no end
            self.service.meter.answered(scope["method"], route, status, time.perf_counter() - began)

    def check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        hosts = self.service.settings.hosts
        if hosts and without_port(host) not in hosts:
            raise Refused(403, "this server goes by another name; start it with --allow-host NAME")
        if origin is not None and origin.split("://")[-1] != host:
            raise Refused(403, "asked from another site")
        if scope["path"] not in OPEN and not key_fits(headers.get("authorization", "")):
            raise Refused(401, "give the key: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        if scope["method"] in ("POST", "PUT"):
            if self.uploads >= UPLOADS:
                raise Refused(503, "busy: too many uploads; try again", {"Retry-After": "1"})
            length = headers.get("content-length", "0")
            if not length.isdecimal() or len(length) > 15 or int(length) > self.limit(scope):
                raise Refused(413, self.too_large(scope))

    def limit(self, scope: Scope) -> int:
        settings = self.service.settings
        return settings.video if scope["path"] == "/v1/video" else settings.body

    def too_large(self, scope: Scope) -> str:
        return f"larger than this server's limit of {self.limit(scope) / 1e6:g} MB; send less"


class Body:
    """A request's `receive` that gives up a body which is too long, or stops coming. Raises Refused."""

    def __init__(self, receive: Receive, limit: int, too_large: str):
        self.receive, self.left, self.too_large = receive, limit, too_large
        self.ended = False

    async def __call__(self) -> Message:
        if self.ended:  # what comes now is that the client goes, whenever it does
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(), SILENCE)
        except TimeoutError:
            self.ended = True
            raise Refused(408, "the body stopped coming", {"Connection": "close"}) from None
        self.left -= len(message.get("body", b""))
        self.ended = not message.get("more_body", False)
        if self.left < 0:
            self.ended = True
            raise Refused(413, self.too_large, {"Connection": "close"})
        return message

    async def drain(self) -> None:
        """Take the rest of a body of which nothing is wanted: a client that is still writing would not see the answer.
        A long rest is not waited for."""
        self.left = min(self.left, DRAINED)
        with contextlib.suppress(Refused):
            while not self.ended:
                await self()


def without_port(host: str) -> str:
    """localhost of localhost:8000; the brackets of an IPv6 address stay."""
    return host if host.endswith("]") else host.rsplit(":", 1)[0] if ":" in host else host


def key_fits(given: str) -> bool:
    key = os.environ.get(KEY)
    return not key or secrets.compare_digest(given.encode(), f"Bearer {key}".encode())


def from_environment() -> FastAPI:
    """The application with the settings that `serve` left for the processes of --workers."""
    values = json.loads(os.environ[SETTINGS])
    return create_app(ServeSettings(**{**values, "hosts": tuple(values["hosts"])}))


def serve(settings: ServeSettings, host: str, port: int, workers: int = 1, ready: Any = None) -> None:
    """Serve until SIGINT or SIGTERM; what was accepted until then is finished. `ready`: called with the address.
    Raises OSError where the address is taken, ValueError for a model or folder that cannot be used."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    app: Any = create_app(settings) if workers == 1 else f"{__name__}:from_environment"
    if workers > 1:
        os.environ[SETTINGS] = json.dumps(asdict(settings))
        os.environ[METRICS] = tempfile.mkdtemp(prefix="headcount-metrics-")
    config = uvicorn.Config(
        app,
        factory=workers > 1,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=30,
        backlog=256,
    )
    with listen(host, port) as listener:
        if ready:
            ready(address(listener))
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            Multiprocess(config, sockets=[listener]).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError, one line."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot listen on {host}, port {port} ({reason}); choose others with --host and --port"
        ) from None
    listener.set_inheritable(True)
    return listener


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
