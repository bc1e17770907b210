"""The routes of the HTTP API: what can be asked, and how it is answered.

What is unusual: a body is the file itself, or a form with the file and its regions; both are read within the server's
limits. Nothing that a client names is opened: no path, no address.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import prometheus_client
from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from headcount import __version__
from headcount.datasets.annotation_project import Project
from headcount.inference.result import CountResult
from headcount.io.images import MediaError, image_size, read_image
from headcount.io.video import parse_every
from headcount.regions.region import Region, parse_regions
from headcount.server.service import KEY, METRICS, Refused, Service
from headcount.server.uploads import check_video

PAGE = Path(__file__).parent / "page.html"
SHOWN = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp", ".bmp": "bmp"}  # by a browser, as they are
VIOLET = (124, 58, 237)  # the mask


class Options(BaseModel, extra="forbid"):
    """What POST /v1/count and /v1/overlay can be asked for."""

    model: Annotated[str | None, Query(description="one of GET /v1/models")] = None
    overlay: Annotated[bool, Query(description="give the density and the mask as pictures")] = False
    points: Annotated[bool, Query(description="give estimated head positions")] = False
    scale: Annotated[float, Query(ge=0.05, le=8, description="resize the picture by this factor first")] = 1.0


class VideoOptions(BaseModel, extra="forbid"):
    """What POST /v1/video can be asked for."""

    model: Annotated[str | None, Query(description="one of GET /v1/models")] = None
    every: Annotated[str, Query(max_length=20, description="count a frame every so often: 1s, 0.2s, 10f")] = "1s"


class Points(BaseModel, extra="forbid"):
    """Head positions in one photo, x then y in its pixels."""

    points: list[tuple[float, float]]


# The answer to a request that is refused, for the OpenAPI document; and what can be sent.
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
REASONS = {
    400: "what was sent cannot be understood",
    401: "the key is missing or wrong",
    403: "asked from another site",
    404: "there is no such thing",
    408: "the body stopped coming",
    409: "the folder's table cannot be used",
    413: "too large",
    415: "not a picture or video that can be read",
    422: "an option or a region that cannot be used",
    503: "busy: come again after Retry-After seconds",
    504: "not counted in time",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": reason, "content": {"application/json": {"schema": ERROR}}}
    for status, reason in REASONS.items()
}


def upload(kind: str) -> dict[str, Any]:
    """The OpenAPI of a body: a file as it is, or in a form together with regions."""
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {**file, "description": f"the {kind}"},
            "regions": {"type": "string", "description": "named polygons: the content of a regions file"},
        },
    }
    content = {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": file}}
    return {"requestBody": {"required": True, "content": content}}


def add_counting(app: FastAPI, service: Service) -> None:
    limits = service.settings

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return PAGE.read_text(encoding="utf-8")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The models that can be asked for, and this server's limits."""
        return {
            "default": service.models.default,
            "models": await run_in_threadpool(service.models.facts),
            "limits": {
                "body": limits.body,
                "video": limits.video,
                "megapixels": limits.megapixels,
                "seconds": limits.seconds,
            },
            "project": service.project is not None,
            "key": KEY in os.environ,
            "version": __version__,
        }

    @app.post("/v1/count", openapi_extra=upload("photo"))
    async def count(request: Request, options: Annotated[Options, Query()]) -> dict[str, Any]:
        """Count the people in a photo."""
        service.pool.check(await run_in_threadpool(service.models.get, options.model))
        body, regions = await read_upload(request)
        result = await service.count(request, body, options.model, options.scale, regions)
        return await run_in_threadpool(answer, result, options)

    @app.post(
        "/v1/overlay",
        openapi_extra=upload("photo"),
        response_class=Response,
        responses={200: {"description": "the photo with its density drawn in", "content": {"image/png": {}}}},
    )
    async def overlay(request: Request, options: Annotated[Options, Query()]) -> Response:
        """The photo as a PNG, its density, count, legend and regions drawn in."""
        service.pool.check(await run_in_threadpool(service.models.get, options.model))
        body, regions = await read_upload(request)
        result = await service.count(request, body, options.model, options.scale, regions)
        return Response(await run_in_threadpool(drawn, result, body, regions), media_type="image/png")


def add_videos(app: FastAPI, service: Service) -> None:
    @app.post("/v1/video", status_code=202, openapi_extra=upload("video"))
    async def video(request: Request, options: Annotated[VideoOptions, Query()], response: Response) -> dict[str, Any]:
        """Count the people in a video, frame by frame: a job, whose progress GET /v1/jobs/{id} tells."""
        model = (await run_in_threadpool(service.models.get, options.model)).engine.meta.name
        try:
            parse_every(options.every)
        except MediaError as error:
            raise Refused(422, str(error)) from None
        file = service.jobs.new_file()
        try:
            regions, name = await save_upload(request, file)
            await run_in_threadpool(check_video, file, service.settings.seconds, service.settings.megapixels * 1e6)
            job = await run_in_threadpool(service.jobs.add, file, name, model, options.every, regions)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return job.to_dict([])

    @app.get("/v1/jobs/{id}")
    def job(id: str, since: Annotated[int, Query(ge=0, le=2**31)] = 0) -> dict[str, Any]:
        """How far a video is counted, and its rows from number `since` on."""
        found = service.jobs.get(id)
        if found is None:
            raise Refused(404, "no such job; its rows may have been forgotten since")
        return found.to_dict(service.jobs.rows(id, since))

    @app.delete("/v1/jobs/{id}")
    def cancel(id: str) -> dict[str, Any]:
        """Stop counting a video; forget one that is counted."""
        found = service.jobs.cancel(id)
        if found is None:
            raise Refused(404, "no such job; its rows may have been forgotten since")
        return found.to_dict([])


def add_project(app: FastAPI, service: Service) -> None:
    def opened(name: str | None = None) -> Project:
        if service.project is None:
            raise Refused(404, "no project is open; start with: headcount annotate FOLDER")
        if name is not None and name not in service.project.photos():
            raise Refused(404, "no such photo in this project")
        return service.project

    @app.get("/v1/project")
    def project() -> dict[str, Any]:
        """The folder's photos, and in how many heads are marked."""
        return opened().summary()

    @app.get("/v1/project/photos/{name:path}", response_class=Response)
    def photo(name: str) -> Response:
        """A photo of the folder."""
        path = opened(name).photos()[name]
        if kind := SHOWN.get(path.suffix.lower()):
            return Response(path.read_bytes(), media_type=f"image/{kind}")
        return Response(png(read_image(path)), media_type="image/png")

    @app.get("/v1/project/points/{name:path}")
    async def points(request: Request, name: str) -> dict[str, Any]:
        """The heads of a photo: those saved, else estimated."""
        folder = await run_in_threadpool(opened, name)
        path = (await run_in_threadpool(folder.photos))[name]
        saved = await run_in_threadpool(folder.points, name)
        width, height = await run_in_threadpool(image_size, path)
        found: Iterable[Any] = saved or []
        if saved is None:
            result = await service.until_gone(request, service.pool.submit(service.models.get(None), path))
            found = await run_in_threadpool(rounded_points, result)
        return {"name": name, "width": width, "height": height, "points": found, "saved": saved is not None}

    @app.put("/v1/project/points/{name:path}")
    def save(name: str, sent: Points) -> dict[str, Any]:
        """Save the heads of a photo into the folder's points.csv."""
        opened(name).save(name, sent.points)
        return {"name": name, "points": len(sent.points)}


def add_upkeep(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, str]:
        """The model is open and pictures are being counted."""
        if not service.ready():
            raise Refused(503, "not ready", {"Retry-After": "1"})
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """For Prometheus."""
        if METRICS in os.environ:
            service.meter.waiting.set(service.pool.accepted)
        return Response(service.meter.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


async def read_upload(request: Request) -> tuple[bytes, tuple[Region, ...]]:
    """The file and the regions of a body, which is the file itself or a form."""
    if not is_form(request):
        return await request.body(), ()
    async with request.form(max_files=1, max_fields=8, max_part_size=2_000_000) as form:
        file, regions = form.get("file"), form.get("regions")
        if not isinstance(file, UploadFile):
            raise Refused(422, "the form has no file; send one as its part 'file'")
        text = regions if isinstance(regions, str) else ""
        return await file.read(), tuple(parse_regions(text.encode())) if text.strip() else ()


async def save_upload(request: Request, target: Path) -> tuple[str | None, str]:
    """Write the file of a body to `target`; returns the regions, checked, as they were sent, and the file's name."""
    if not is_form(request):
        with open(target, "wb") as stream:
            async for chunk in request.stream():
                await run_in_threadpool(stream.write, chunk)
        return None, "video"
    async with request.form(max_files=1, max_fields=8, max_part_size=2_000_000) as form:
        file, regions = form.get("file"), form.get("regions")
        if not isinstance(file, UploadFile):
            raise Refused(422, "the form has no file; send one as its part 'file'")
        text = regions if isinstance(regions, str) and regions.strip() else None
        if text:
            parse_regions(text.encode())
        with open(target, "wb") as stream:
            while chunk := await file.read(1 << 20):
                await run_in_threadpool(stream.write, chunk)
        return text, Path(file.filename or "video").name[:200]


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def answer(result: CountResult, options: Options) -> dict[str, Any]:
    """What POST /v1/count says."""
    row = result.to_dict()
    del row["path"]  # the picture came as bytes
    if options.points:
        row["points"] = rounded_points(result)
    if options.overlay:
        row["overlay"] = layers(result)
    return row


def rounded_points(result: CountResult) -> list[list[float]]:
    return [[round(x, 2), round(y, 2)] for x, y in result.points().tolist()]


def layers(result: CountResult) -> dict[str, Any]:
    """The density and the mask as transparent pictures that span the photo, and the legend's peak."""
    from headcount.visualization.heatmap import mask_layer, overlay_layers

    tint, alpha, peak = overlay_layers(result.density, result.height, result.width, result.stride)
    mask = mask_layer(result.mask, result.height, result.width, result.stride)
    violet = np.broadcast_to(np.array(VIOLET, np.uint8), (*mask.shape, 3))
    return {
        "density": data_url(np.dstack([tint, (alpha * 255).astype(np.uint8)])),
        "mask": data_url(np.dstack([violet, (mask * 200).astype(np.uint8)])),
        "peak": round(peak, 3),
    }


def drawn(result: CountResult, body: bytes, regions: tuple[Region, ...]) -> bytes:
    return png(result.overlay(body, regions))


def data_url(rgba: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(rgba)).decode()


def png(picture: np.ndarray) -> bytes:
    """uint8 (H,W,3) RGB or (H,W,4) RGBA as a PNG file."""
    import cv2

    order = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.imencode(".png", cv2.cvtColor(picture, order), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
