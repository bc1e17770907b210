"""Annotating the heads in a folder of photos."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from headcount.datasets.annotation_project import Project
from headcount.io.images import encode_png, image_size, read_image
from headcount.server.errors import ApiError
from headcount.server.routes.counting import rounded_points
from headcount.server.routes.dependencies import ServiceDependency
from headcount.server.service import Service
from headcount.server.types import JsonObject

# Formats that browsers show, by the file's suffix; others are sent as PNG.
BROWSER_FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp"}
router = APIRouter()


class Points(BaseModel, extra="forbid"):
    """Head positions in one photo, x then y in its pixels."""

    points: list[tuple[float, float]]


@router.get("/v1/project")
def project(service: ServiceDependency) -> JsonObject:
    """The folder's photos, and how many heads are marked in each."""
    return open_project(service).summary()


@router.get("/v1/project/photos/{name:path}", response_class=Response)
def photo(name: str, service: ServiceDependency) -> Response:
    """A photo of the folder."""
    path = find_photo(service, name)
    if kind := BROWSER_FORMATS.get(path.suffix.lower()):
        return Response(path.read_bytes(), media_type=f"image/{kind}")
    with open_project(service).own_messages():
        return Response(encode_png(read_image(path)), media_type="image/png")


@router.get("/v1/project/points/{name:path}")
async def points(request: Request, name: str, service: ServiceDependency) -> JsonObject:
    """The heads in a photo: those saved, or else an estimate."""
    path = await run_in_threadpool(find_photo, service, name)
    saved = await run_in_threadpool(open_project(service).points, name)
    with open_project(service).own_messages():
        width, height = await run_in_threadpool(image_size, path)
        estimated = await estimate_points(request, service, path) if saved is None else saved
    return {"name": name, "width": width, "height": height, "points": estimated, "saved": saved is not None}


@router.put("/v1/project/points/{name:path}")
def save(name: str, sent: Points, service: ServiceDependency) -> JsonObject:
    """Save the heads in a photo to the folder's points.csv."""
    find_photo(service, name)
    open_project(service).save(name, sent.points)
    return {"name": name, "points": len(sent.points)}


def open_project(service: Service) -> Project:
    """Raises ApiError unless the server has a project."""
    if service.project is None:
        raise ApiError(404, "no project is open; start with: headcount annotate FOLDER")
    return service.project


def find_photo(service: Service, name: str) -> Path:
    """The path of a photo. Raises ApiError if the project has no such photo."""
    path = open_project(service).photos().get(name)
    if path is None:
        raise ApiError(404, "no such photo in this project")
    return path


async def estimate_points(request: Request, service: Service, path: Path) -> list[list[float]]:
    future = service.queue.submit(service.models.get(None), path)
    counted = await service.wait_for(request, future)
    return await run_in_threadpool(rounded_points, counted.result)
