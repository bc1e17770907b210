"""Counting in photos, and what the models and limits are."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from headcount import __version__
from headcount.geometry import MAX_SCALE, MIN_SCALE
from headcount.inference.result import CountResult
from headcount.server.rendering import density_layers, overlay_png
from headcount.server.routes.dependencies import ServiceDependency
from headcount.server.service import API_KEY_VARIABLE
from headcount.server.types import JsonObject
from headcount.server.uploads import body_schema, read_upload

PNG_RESPONSE: dict[int | str, JsonObject] = {
    200: {"description": "the photo with its density drawn over it", "content": {"image/png": {}}}
}
router = APIRouter()


class Options(BaseModel, extra="forbid"):
    """Query options of POST /v1/count and /v1/overlay."""

    model: Annotated[str | None, Query(description="a name from GET /v1/models")] = None
    overlay: Annotated[bool, Query(description="include density and mask as images")] = False
    points: Annotated[bool, Query(description="include estimated head positions")] = False
    scale: Annotated[
        float | None,
        Query(
            ge=MIN_SCALE,
            le=MAX_SCALE,
            description="resize the image by this factor; by default, large photos are"
            " counted at the scale that finds most of the people",
        ),
    ] = None


@router.get("/v1/models")
async def models(service: ServiceDependency) -> JsonObject:
    """The available models, and this server's limits."""
    settings = service.settings
    return {
        "default": service.models.default,
        "models": await run_in_threadpool(service.models.facts),
        "limits": {
            "body": settings.max_body_bytes,
            "video": settings.max_video_bytes,
            "megapixels": settings.max_megapixels,
            "seconds": settings.max_video_seconds,
        },
        "project": service.project is not None,
        "key": API_KEY_VARIABLE in os.environ,
        "version": __version__,
    }


@router.post("/v1/count", openapi_extra=body_schema("photo"))
async def count(request: Request, options: Annotated[Options, Query()], service: ServiceDependency) -> JsonObject:
    """Count the people in a photo."""
    await service.check_capacity(request, options.model)
    body, regions = await read_upload(request)
    result, _ = await service.count(request, body, options.model, options.scale, regions)
    if options.overlay or options.points:
        return await service.wait_for(request, service.queue.draw(result_json, result, options))
    return result_json(result, options)


@router.post("/v1/overlay", openapi_extra=body_schema("photo"), response_class=Response, responses=PNG_RESPONSE)
async def overlay(request: Request, options: Annotated[Options, Query()], service: ServiceDependency) -> Response:
    """Draw density, count, legend and regions over a photo; the response is a PNG of at most 16 megapixels."""
    await service.check_capacity(request, options.model)
    body, regions = await read_upload(request)
    counted = await service.count(request, body, options.model, options.scale, regions)
    drawn = await service.wait_for(request, service.queue.draw(overlay_png, *counted, regions))
    return Response(drawn, media_type="image/png")


def result_json(result: CountResult, options: Options) -> JsonObject:
    """The response of POST /v1/count."""
    row = result.to_dict()
    del row["path"]  # the photo came as bytes
    if options.points:
        row["points"] = rounded_points(result)
    if options.overlay:
        row["overlay"] = density_layers(result)
    return row


def rounded_points(result: CountResult) -> list[list[float]]:
    """Estimated head positions, x then y, in hundredths of a pixel at most."""
    return [[round(x, 2), round(y, 2)] for x, y in result.points().tolist()]
