"""The HTTP API and the web page: routes, the counting queue, video jobs, and checks of what clients send."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.server.app import create_app, serve
    from headcount.server.service import ServeSettings

__all__ = ["ServeSettings", "create_app", "serve"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ServeSettings": "headcount.server.service",
        "create_app": "headcount.server.app",
        "serve": "headcount.server.app",
    },
)
