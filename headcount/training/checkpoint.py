"""The state of a training run on disk: the newest and the one before it, each whole, each with a checksum.

What is unusual: one safetensors file holds weights, averages and optimiser moments and, as metadata, the numbers, so
that a kill cannot tear them apart; it takes its name when it is complete and on the disk. state.json is a copy of the
numbers, to read.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from headcount.io.files import flush_to_disk
from headcount.training.config import TrainError

NEWEST, BEFORE, NUMBERS = "state.safetensors", "state.before.safetensors", "state.json"
DAMAGED, LOCK = "state.damaged.safetensors", ".lock"


def exists(out: Path) -> bool:
    return any((out / name).exists() for name in (NEWEST, BEFORE))


def write(out: Path, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Make this the newest state; the one that was becomes the one before it."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text, draft = json.dumps(numbers), out / f"{NEWEST}.new"
    save_file(tensors, draft, metadata={"numbers": text, "checksum": checksum(tensors)})
    flush_to_disk(draft)
    (out / f"{NUMBERS}.new").write_text(text)
    if (out / NEWEST).exists():
        (out / NEWEST).replace(out / BEFORE)
    draft.replace(out / NEWEST)
    (out / f"{NUMBERS}.new").replace(out / NUMBERS)


def read(out: Path) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """The numbers, the tensors, and what is wrong with the newest state where the one before it had to be taken.

    Raises:
        TrainError: neither can be read.
    """
    wrong: list[str] = []
    for name in (NEWEST, BEFORE):
        try:
            return *read_file(out / name), "; ".join(wrong)
        except TrainError as error:
            wrong.append(str(error))
    raise TrainError(f"{wrong[0]}; start a new run in another folder")


def set_aside(out: Path) -> None:
    """Rename a newest state that cannot be read: the next save would put it in the place of the good one before it."""
    if (out / NEWEST).exists():
        (out / NEWEST).replace(out / DAMAGED)


def forget(out: Path) -> None:
    """Remove what only resuming needs."""
    for name in (NEWEST, BEFORE, NUMBERS, DAMAGED):
        (out / name).unlink(missing_ok=True)


def read_file(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        numbers = json.loads(metadata["numbers"])
    except (OSError, RuntimeError, ValueError, KeyError, SafetensorError) as error:  # torch opens the file too
        raise TrainError(f"{file}: cannot be read ({' '.join(str(error).split())})") from error
    if metadata.get("checksum", checksum(tensors)) != checksum(tensors):
        raise TrainError(f"{file}: is damaged (its checksum differs)")
    return numbers, tensors


def checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 of all values, which may be of any type."""
    import torch

    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder; a process that dies lets go of it.

    Raises:
        TrainError: another process does already.
    """
    import filelock

    out.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise TrainError(f"{out}: another process is training there; wait for it, or choose another folder") from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """What a full or broken disk raises, as a TrainError; half-written drafts are removed, for their room is needed.

    Raises:
        TrainError: in place of OSError and of safetensors' own.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        for draft in out.rglob("*.new"):
            draft.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise TrainError(
            f"{out}: cannot be written ({reason}); make room, then go on with --resume from what was saved before"
        ) from error
