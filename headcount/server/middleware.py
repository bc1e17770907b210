"""Checks and headers for every request, before routing.

There are no CORS headers, and the Host and Origin of a request must be this server's. A page of another site can
therefore neither send requests nor read responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headcount.server.errors import ApiError, error_response
from headcount.server.metrics import Metrics
from headcount.server.service import API_KEY_VARIABLE, ServeSettings

log = logging.getLogger("headcount")
MAX_UPLOADS = 16  # request bodies that are received at the same time
MAX_DRAINED_BYTES = 2_000_000  # of a refused request's body, received before the response is sent
RECEIVE_TIMEOUT = 30.0  # seconds without data before a request body is abandoned
MIN_BYTES_PER_SECOND = 4_000  # of a body that has taken longer than that; slower ones would hold an upload for ever
BODY_METHODS = ("POST", "PUT")
PUBLIC_PATHS = ("/", "/healthz", "/readyz", "/openapi.json")  # served without a key
PUBLIC_FOLDER = "/static/"  # likewise: the page itself asks for the key
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class MetricsMiddleware:
    """Records the status and duration of every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_at, status = time.perf_counter(), 0

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # the requested path could be anything
            self.metrics.record_response(scope["method"], route, status, time.perf_counter() - started_at)


class SecurityMiddleware:
    """Checks who asks, from where and how much is sent; adds the security headers; hides unexpected errors."""

    def __init__(self, app: ASGIApp, settings: ServeSettings):
        self.app, self.settings = app, settings
        self.uploads = 0  # request bodies being received now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        response = ResponseSender(send)
        if scope["method"] in BODY_METHODS:
            receive = response.body = LimitedBody(receive, self.max_body_bytes(scope))
        try:
            check_host(scope, self.settings.allowed_hosts)
            check_key(scope)
            if response.body is None:
                await self.app(scope, receive, response)
            else:
                with self.upload(scope):
                    await self.app(scope, receive, response)
        except ApiError as error:
            await error.response()(scope, receive, response)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not response.started:
                await error_response(500, "internal error; see the server log")(scope, receive, response)

    def max_body_bytes(self, scope: Scope) -> int:
        return self.settings.max_video_bytes if scope["path"] == "/v1/video" else self.settings.max_body_bytes

    @contextlib.contextmanager
    def upload(self, scope: Scope) -> Iterator[None]:
        """Count an upload while it is handled.

        Raises:
            ApiError: too many uploads are under way, or this one announces that it is too large.
        """
        if self.uploads >= MAX_UPLOADS:
            raise ApiError(503, "busy: too many uploads; try again", {"Retry-After": "1"})
        length, limit = header(scope, "content-length") or "0", self.max_body_bytes(scope)
        if not length.isdecimal() or len(length) > 15 or int(length) > limit:
            raise too_large(limit)
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1


class ResponseSender:
    """An ASGI `send` that adds the security headers and drains the body of a refused request.

    Attributes:
        body: the request body, if the request may have one.
        started: whether the response's status line was sent.
    """

    def __init__(self, send: Send):
        self.send = send
        self.body: LimitedBody | None = None
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if self.body and message["status"] >= 400:
                await self.body.drain()
            present = {name.lower() for name, _ in message["headers"]}
            added = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
            headers = [*message["headers"], *(pair for pair in added if pair[0] not in present)]
            message = {**message, "headers": headers}
        await self.send(message)


class LimitedBody:
    """An ASGI `receive` that raises ApiError if the body exceeds `limit` bytes, stops arriving or arrives too slowly.

    Attributes:
        received: bytes that have come.
        complete: whether all has come, or no more is waited for.
        seconds: spent waiting for it.
    """

    def __init__(self, receive: Receive, limit: int):
        self.receive, self.limit = receive, limit
        self.received = 0
        self.complete = False
        self.seconds = 0.0

    async def __call__(self) -> Message:
        if self.complete:  # the only message left is the disconnect, which may take any time
            return await self.receive()
        started_at = time.monotonic()
        try:
            message = await asyncio.wait_for(self.receive(), RECEIVE_TIMEOUT)
        except TimeoutError:
            self.complete = True
            raise ApiError(408, "timed out waiting for the request body", {"Connection": "close"}) from None
        self.seconds += time.monotonic() - started_at
        if self.seconds > RECEIVE_TIMEOUT and self.received < MIN_BYTES_PER_SECOND * self.seconds:
            self.complete = True
            raise ApiError(408, "the request body arrives too slowly", {"Connection": "close"})
        self.received += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.received > self.limit:
            raise too_large(self.limit, {"Connection": "close"})
        return message

    async def drain(self) -> None:
        """Receive the rest of the body, up to a limit: a client that is still sending would miss the response."""
        self.limit = self.received + MAX_DRAINED_BYTES
        with contextlib.suppress(ApiError):
            while not self.complete:
                await self()
        self.complete = True


def too_large(limit: int, headers: dict[str, str] | None = None) -> ApiError:
    return ApiError(413, f"the upload exceeds this server's limit of {limit / 1e6:g} MB", headers)


def check_host(scope: Scope, allowed_hosts: tuple[str, ...]) -> None:
    """Refuse other names of this server (DNS rebinding) and requests from pages of other sites.

    Raises:
        ApiError: the Host or Origin header is not allowed.
    """
    host, origin = header(scope, "host") or "", header(scope, "origin")
    if allowed_hosts and without_port(host) not in allowed_hosts:
        raise ApiError(403, "host not allowed; start the server with --allow-host NAME")
    # Browsers send no Origin with what a page merely embeds, such as images, but they say where it comes from.
    embedded = header(scope, "sec-fetch-site") == "cross-site" and header(scope, "sec-fetch-mode") != "navigate"
    if embedded or (origin is not None and origin.split("://")[-1] != host):
        raise ApiError(403, "cross-site requests are not allowed")


def check_key(scope: Scope) -> None:
    """Raises ApiError unless the path is public, no key is set, or the request has the key."""
    key = os.environ.get(API_KEY_VARIABLE)
    if scope["path"] in PUBLIC_PATHS or scope["path"].startswith(PUBLIC_FOLDER) or not key:
        return
    scheme, _, given = (header(scope, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), key.encode()):
        reason = "missing or wrong key; send the header Authorization: Bearer KEY"
        raise ApiError(401, reason, {"WWW-Authenticate": "Bearer"})


def header(scope: Scope, name: str) -> str | None:
    """The value of a request header; the last one if there are several."""
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}.get(name)


def without_port(host: str) -> str:
    """`localhost` for `localhost:8000`; the brackets of an IPv6 address stay."""
    if host.endswith("]") or ":" not in host:
        return host
    return host.rsplit(":", 1)[0]
