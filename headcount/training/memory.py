"""Memory during training: how much decoded images may take, and errors that say what to try when it runs out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from headcount.training.config import TrainConfig, TrainError
from headcount.training.run_record import Progress

WHOLE_IMAGE_SIDE = 1024  # pixels; crops of half of it are proposed where whole images need too much memory

IMAGE_SHARE = 0.25  # of the machine's memory: for decoded images, unless the recipe says how much
UNKNOWN_MEMORY = 8 << 30  # bytes, assumed where the system does not tell
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container


def machine_memory() -> int:
    """The memory of this machine, or of the container that the process runs in, in bytes."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        physical = UNKNOWN_MEMORY
    try:
        return min(physical, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return physical


def image_memory(config: TrainConfig, processes: int) -> int:
    """How many bytes of decoded images each of the processes on this machine may keep."""
    total = config.image_memory * 2**30 if config.image_memory >= 0 else machine_memory() * IMAGE_SHARE
    return int(total) // processes


@contextlib.contextmanager
def memory_errors(config: TrainConfig, progress: Progress, pad: int, processes: int) -> Iterator[None]:
    """Turn running out of memory into an error that says what to try.

    Args:
        config: The settings in use.
        progress: Where the run is; the message says the step.
        pad: Number of pixels that the sides of a crop must be multiples of.
        processes: Number of processes that share each batch.

    Raises:
        TrainError: In place of torch's and Python's errors.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not out_of_memory(error):
            raise
        batch, crop = config.batch, config.data.crop
        used = f"a batch of {batch} crops of {crop[0]}x{crop[1]}" if any(crop) else "a whole image"
        smaller_batch = max(batch // 2 // processes, 1) * processes
        smaller_crop = [max((side or WHOLE_IMAGE_SIDE) // 2 // pad, 1) * pad for side in crop]
        advice = f"--set 'data.crop={smaller_crop}'"
        if smaller_batch < batch:
            advice = f"--set batch={smaller_batch} or {advice}"
        raise TrainError(f"step {progress.step}: no memory for {used}; try {advice}") from error


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out. torch has its own error for a GPU's memory, but none for the CPU's."""
    message = str(error)
    known = "allocate memory" in message or "bad_alloc" in message
    return known or isinstance(error, MemoryError | torch.OutOfMemoryError)
