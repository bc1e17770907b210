"""Error responses of the HTTP API: every one is a JSON object with a single-line `error`."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from headcount.datasets.annotations import PointsError
from headcount.io.files import single_line
from headcount.io.images import MediaError
from headcount.regions.region import RegionError
from headcount.server.counting_queue import QueueFullError
from headcount.server.ending import NotInTimeError
from headcount.server.image_reader import TooLargeError
from headcount.server.job_store import TooManyJobsError
from headcount.server.types import JsonObject
from headcount.server.video_checks import VideoRejectedError

# Exceptions of the library that a client's input can cause, and their status.
STATUSES: dict[type[Exception], int] = {
    TooLargeError: 413,
    MediaError: 415,
    VideoRejectedError: 415,
    PointsError: 409,
    RegionError: 422,
}
REASONS = {
    400: "the request is malformed",
    401: "the key is missing or wrong",
    403: "the Host or Origin header is not allowed",
    404: "not found",
    408: "the request body stopped arriving",
    409: "the project's table cannot be used",
    413: "the upload is too large",
    415: "not a readable image or video",
    422: "an option or a region is invalid",
    503: "busy: try again after Retry-After seconds",
    504: "not counted in time",
}
ERROR_SCHEMA = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
# What the OpenAPI document says of every route's errors.
ERROR_RESPONSES: dict[int | str, JsonObject] = {
    status: {"description": reason, "content": {"application/json": {"schema": ERROR_SCHEMA}}}
    for status, reason in REASONS.items()
}


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status code.
        reason: one line for the client.
        headers: additional response headers.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})

    def response(self) -> JSONResponse:
        return error_response(self.status, self.reason, self.headers)


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A JSON response whose `error` is `reason` on a single line."""
    return JSONResponse({"error": " ".join(reason.split())}, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Turn every expected exception into an error response. The middleware answers unexpected ones."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(QueueFullError)
    async def queue_full(request: Request, error: QueueFullError) -> JSONResponse:
        return error_response(503, str(error), {"Retry-After": str(max(1, round(error.retry_after)))})

    @app.exception_handler(NotInTimeError)
    async def not_in_time(request: Request, error: NotInTimeError) -> JSONResponse:
        return error_response(504, str(error))

    @app.exception_handler(TooManyJobsError)
    async def too_many_jobs(request: Request, error: TooManyJobsError) -> JSONResponse:
        return error_response(503, str(error), {"Retry-After": "60"})

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return error_response(422, f"{field}: {first['msg']}"[:300])

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail), error.headers)

    async def invalid_input(request: Request, error: Exception) -> JSONResponse:
        status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
        return error_response(status, single_line(error))

    for kind in STATUSES:
        app.add_exception_handler(kind, invalid_input)
