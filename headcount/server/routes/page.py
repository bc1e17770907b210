"""The page, its style and its script, and the example photo that it offers."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from headcount.page import STATIC
from headcount.server.types import JsonObject

PACKAGE = Path(__file__).parents[2]
FILES = StaticFiles(directory=STATIC)  # answers 304 to a client that has the current file
EXAMPLE = PACKAGE / "examples" / "crowd.jpg"
JPEG_RESPONSE: dict[int | str, JsonObject] = {200: {"description": "a rendered crowd", "content": {"image/jpeg": {}}}}
router = APIRouter()


@router.get("/", response_class=Response, include_in_schema=False)
async def page(request: Request) -> Response:
    return await page_file(request, "page.html")


@router.get("/static/{name}", response_class=Response, include_in_schema=False)
async def page_file(request: Request, name: str) -> Response:
    """A file of the page. Browsers keep it and ask each time whether it has changed, as after an update."""
    response = await FILES.get_response(name, request.scope)
    response.headers["Cache-Control"] = "no-cache"
    return response


@router.get("/v1/example", response_class=Response, responses=JPEG_RESPONSE)
async def example() -> FileResponse:
    """A photo to try: the image of `headcount demo`."""
    return FileResponse(EXAMPLE)
