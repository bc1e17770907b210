"""Counting in videos, which takes long: a video becomes a job whose progress the client asks for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from headcount.io.frames import parse_every
from headcount.io.images import MediaError
from headcount.server.errors import ApiError
from headcount.server.routes.dependencies import ServiceDependency
from headcount.server.types import JsonObject
from headcount.server.uploads import body_schema, save_upload
from headcount.server.video_checks import check_video

router = APIRouter()


class VideoOptions(BaseModel, extra="forbid"):
    """Query options of POST /v1/video."""

    model: Annotated[str | None, Query(description="a name from GET /v1/models")] = None
    every: Annotated[
        str, Query(max_length=20, description="how often to count a frame: 1s, 0.2s, or 10f for every tenth frame")
    ] = "1s"


@router.post("/v1/video", status_code=202, openapi_extra=body_schema("video"))
async def video(
    request: Request, options: Annotated[VideoOptions, Query()], response: Response, service: ServiceDependency
) -> JsonObject:
    """Queue a video for counting, frame by frame. The response is a job; GET /v1/jobs/{id} reports its progress."""
    model = (await run_in_threadpool(service.models.get, options.model)).engine.meta.name
    try:
        parse_every(options.every)
    except MediaError as error:
        raise ApiError(422, str(error)) from None
    settings, file = service.settings, service.jobs.new_file()
    try:
        upload = await save_upload(request, file)
        await run_in_threadpool(check_video, file, settings.max_video_seconds, settings.max_pixels)
        added = await run_in_threadpool(service.jobs.add, file, upload.name, model, options.every, upload.regions_text)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    response.headers["Location"] = f"/v1/jobs/{added.id}"
    return added.to_dict([])


@router.get("/v1/jobs/{id}")
def job(id: str, service: ServiceDependency, since: Annotated[int, Query(ge=0, le=2**31)] = 0) -> JsonObject:
    """A job's progress, and its rows from number `since` on."""
    found = service.jobs.get(id)
    if found is None:
        raise no_such_job()
    return found.to_dict(service.jobs.rows(id, since))


@router.delete("/v1/jobs/{id}")
def cancel(id: str, service: ServiceDependency) -> JsonObject:
    """Cancel a job; delete one that has ended."""
    found = service.jobs.cancel(id)
    if found is None:
        raise no_such_job()
    return found.to_dict([])


def no_such_job() -> ApiError:
    return ApiError(404, "no such job; its rows may have expired")
