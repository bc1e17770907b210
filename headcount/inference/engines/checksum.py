"""The checksum at the end of an exported .onnx file, which detects damage that no runtime would notice."""

from __future__ import annotations

import hashlib
from pathlib import Path

from headcount.inference.engines.metadata import EngineError

# The last field of an exported file is the metadata entry sha256 (field 14 of a ModelProto), of everything before it.
CHECKSUM_FIELD = b"\x72\x4a\x0a\x06sha256\x12\x40"
CHECKSUM_LENGTH = len(CHECKSUM_FIELD) + 64


def verify_checksum(path: Path) -> None:
    """Compare an .onnx file with the checksum at its end, if it has one.

    Raises:
        EngineError: the file has changed since it was exported.
    """
    content = memoryview(path.read_bytes())
    body, end = content[:-CHECKSUM_LENGTH], content[-CHECKSUM_LENGTH:]
    if (
        end[: len(CHECKSUM_FIELD)] == CHECKSUM_FIELD
        and end[len(CHECKSUM_FIELD) :] != hashlib.sha256(body).hexdigest().encode()
    ):
        raise EngineError(
            f"{path}: is damaged, or was changed after its export (its checksum differs);"
            " install headcount again, or export the model again"
        )
