"""Request bodies: the file itself, or a form with the file and its regions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from headcount.regions.region import Region, parse_regions
from headcount.server.errors import ApiError
from headcount.server.types import JsonObject

CHUNK_BYTES = 1 << 20
MAX_FIELD_BYTES = 2_000_000  # of a form field, such as the regions
MAX_REGIONS, MAX_CORNERS = 200, 5_000  # of a request; ten times what people draw, and counted in a second


@dataclass(frozen=True)
class Upload:
    """The content of a request body, while it is received.

    Attributes:
        chunks: the file.
        name: the file name that the client gave, without folders.
        regions_text: content of a regions file, or None.
    """

    chunks: AsyncIterator[bytes]
    name: str = "video"
    regions_text: str | None = None

    async def regions(self) -> tuple[Region, ...]:
        """Parse the regions, outside the event loop. Raises RegionError for regions that cannot be used."""
        if not self.regions_text:
            return ()
        content = self.regions_text.encode()
        return tuple(await run_in_threadpool(parse_regions, content, most=MAX_REGIONS, most_corners=MAX_CORNERS))


@contextlib.asynccontextmanager
async def open_upload(request: Request) -> AsyncIterator[Upload]:
    """The upload in a request body.

    Raises:
        ApiError: a form without the part `file`.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        yield Upload(request.stream())
        return
    async with request.form(max_files=1, max_fields=8, max_part_size=MAX_FIELD_BYTES) as form:
        file, regions = form.get("file"), form.get("regions")
        if not isinstance(file, UploadFile):
            raise ApiError(422, "the form has no file; send it as the part 'file'")
        text = regions if isinstance(regions, str) and regions.strip() else None
        yield Upload(read_chunks(file), Path(file.filename or "video").name[:200], text)


async def read_chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


async def read_upload(request: Request) -> tuple[bytes, tuple[Region, ...]]:
    """The file and the regions of a request body."""
    async with open_upload(request) as upload:
        body = b"".join([chunk async for chunk in upload.chunks])
        return body, await upload.regions()


async def save_upload(request: Request, target: Path) -> Upload:
    """Write the file of a request body to `target`, if its regions are valid. The chunks are then used up."""
    async with open_upload(request) as upload:
        await upload.regions()
        with open(target, "wb") as stream:
            async for chunk in upload.chunks:
                await run_in_threadpool(stream.write, chunk)
        return upload


def body_schema(kind: str) -> JsonObject:
    """The OpenAPI description of a request body; `kind`: photo or video."""
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
