"""The application behind `headcount serve` and `headcount annotate`, and the process that serves it.

A request is either answered within the deadline or refused at once with 503 and Retry-After.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from headcount import __version__
from headcount.server.errors import ERROR_RESPONSES, add_error_handlers
from headcount.server.metrics import MULTIPROCESS_FOLDER
from headcount.server.middleware import MetricsMiddleware, SecurityMiddleware
from headcount.server.routes import counting, health, page, project, videos
from headcount.server.service import ServeSettings, Service

SETTINGS_VARIABLE = "HEADCOUNT_SERVE"  # environment variable: the settings as JSON, for the processes of --workers
MAX_CONNECTIONS = 512  # open at once, in each process; further ones are answered with 503
MAX_HEADER_BYTES = 65_536
BACKLOG = 256  # connections that wait to be accepted
UNREAD_SECONDS = 30.0  # that a client may take no data of an answer before its connection is dropped


def create_app(settings: ServeSettings) -> FastAPI:
    """The ASGI application.

    Raises:
        ValueError: a model or a folder cannot be used; one line.
    """
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
        docs_url=None,  # its page would load scripts from another site
        redoc_url=None,
        responses=ERROR_RESPONSES,
    )
    app.state.service = service
    add_error_handlers(app)
    for routes in (page, counting, videos, project, health):
        app.include_router(routes.router)
    app.add_middleware(SecurityMiddleware, settings=settings)
    app.add_middleware(MetricsMiddleware, metrics=service.metrics)  # the outermost
    return app


def create_app_from_environment() -> FastAPI:
    """The application in a process of --workers, with the settings that `serve` left in the environment."""
    threading.Thread(target=end_with_parent, name="parent", daemon=True).start()
    values = json.loads(os.environ[SETTINGS_VARIABLE])
    return create_app(ServeSettings(**{**values, "allowed_hosts": tuple(values["allowed_hosts"])}))


def end_with_parent() -> None:
    """End this worker when the process that started it is gone, even killed: nothing else would free the port."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def serve(
    settings: ServeSettings, host: str, port: int, workers: int = 1, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was accepted.

    Args:
        settings: what the server may do.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        workers: processes.
        on_ready: called with the server's address once it listens.

    Raises:
        OSError: the address is taken.
        ValueError: a model or a folder cannot be used.
    """
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    if workers == 1:
        app: FastAPI | str = create_app(settings)
    else:
        app = f"{__name__}:{create_app_from_environment.__name__}"
        os.environ[SETTINGS_VARIABLE] = json.dumps(asdict(settings))
    config = uvicorn.Config(
        app,
        factory=workers > 1,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=30,
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    with listen(host, port) as listener:
        if on_ready:
            on_ready(address_of(listener))
        if workers == 1:
            uvicorn.Server(config).run(sockets=[listener])
        else:
            with tempfile.TemporaryDirectory(prefix="headcount-metrics-", ignore_cleanup_errors=True) as folder:
                os.environ[MULTIPROCESS_FOLDER] = folder
                Multiprocess(config, sockets=[listener]).run()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address cannot be used; one line.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot listen on {host}, port {port} ({reason}); choose others with --host and --port"
        ) from None
    listener.set_inheritable(True)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; its connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * UNREAD_SECONDS))
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
