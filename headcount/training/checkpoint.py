"""The training state on disk: the newest one and its predecessor, each complete and with a checksum.

One safetensors file holds weights, averaged weights and optimizer moments, with the numbers as its metadata. A kill
can therefore not separate them. The file takes its name only when it is complete and on the disk. state.json is a copy
of the numbers for people to read.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from headcount.io import files
from headcount.io.files import flush_to_disk, single_line
from headcount.training.config import TrainError

NEWEST, PREVIOUS, NUMBERS = "state.safetensors", "state.before.safetensors", "state.json"
DAMAGED, LOCK = "state.damaged.safetensors", ".lock"

Numbers = dict[str, Any]  # as JSON holds them


def exists(out: Path) -> bool:
    """Whether a run folder holds a state."""
    return any((out / name).exists() for name in (NEWEST, PREVIOUS))


def write(out: Path, tensors: dict[str, Tensor], numbers: Numbers) -> None:
    """Save a state as the newest one. The newest so far becomes its predecessor.

    Args:
        out: The run folder.
        tensors: Weights and moments by name.
        numbers: Everything else, as JSON can hold it.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text, draft = json.dumps(numbers), out / f"{NEWEST}.new"
    save_file(tensors, draft, metadata={"numbers": text, "checksum": checksum(tensors)})
    flush_to_disk(draft)
    (out / f"{NUMBERS}.new").write_text(text)
    if (out / NEWEST).exists():
        (out / NEWEST).replace(out / PREVIOUS)
    draft.replace(out / NEWEST)
    (out / f"{NUMBERS}.new").replace(out / NUMBERS)


def read(out: Path) -> tuple[Numbers, dict[str, Tensor], str]:
    """Read the newest state, or its predecessor if the newest cannot be read.

    Returns:
        The numbers, the tensors, and what is wrong with the newest state: empty unless the predecessor was taken.

    Raises:
        TrainError: Neither can be read. The message names last/, whose weights a new run can begin with.
    """
    problems: list[str] = []
    for name in (NEWEST, PREVIOUS):
        try:
            return *read_file(out / name), "; ".join(problems)
        except TrainError as error:
            problems.append(str(error))
    raise TrainError(
        f"{problems[0]}, and there is no readable {PREVIOUS}; restore one of them, or start a new run in another folder"
        f" with --set start={out / 'last'}"
    )


def read_file(file: Path) -> tuple[Numbers, dict[str, Tensor]]:
    """Read the numbers and tensors of one file.

    Raises:
        TrainError: The file cannot be read, or its checksum differs.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        numbers, expected = json.loads(metadata["numbers"]), metadata["checksum"]
    # torch opens the file too, and raises errors of its own; metadata is None in a file without any
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise TrainError(f"{file}: cannot be read ({single_line(error)})") from error
    if checksum(tensors) != expected:
        raise TrainError(f"{file}: is damaged (its checksum differs)")
    return numbers, tensors


def set_aside(out: Path) -> None:
    """Rename a newest state that cannot be read, so that the next save does not put it in place of the good one."""
    if (out / NEWEST).exists():
        (out / NEWEST).replace(out / DAMAGED)


def delete(out: Path) -> None:
    """Delete the files that only resuming needs."""
    for name in (NEWEST, PREVIOUS, NUMBERS, DAMAGED):
        (out / name).unlink(missing_ok=True)


def checksum(tensors: dict[str, Tensor]) -> str:
    """CRC-32 of all values, of any type."""
    import torch

    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder. The lock of a process that dies is released.

    Raises:
        TrainError: Another process holds the lock.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.locked(out / LOCK))
        except files.FileInUseError:
            raise TrainError(
                f"{out}: another process is training there; wait until it ends, or choose another folder"
            ) from None
        yield


@contextlib.contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Turn the errors of a full or broken disk into a TrainError, and delete partial files to free their space.

    Raises:
        TrainError: In place of OSError and of safetensors' own error.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        for draft in out.rglob("*.new"):
            draft.unlink(missing_ok=True)
        raise TrainError(
            f"{out}: cannot be written ({single_line(error)}); free some space, then resume with --resume from the"
            " last saved state"
        ) from error
