"""Distributed data-parallel training under torchrun: each process takes its share of every batch.

Only this module knows torch.distributed. A process that was not started by torchrun is rank 0 of 1, and nothing here
then has an effect. Crops depend on their number alone, and every loss is a mean over crops. N processes with equal
shares of a batch therefore learn what one process with the whole batch learns, up to the rounding of sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
from torch import nn

from headcount.io.files import single_line
from headcount.training.config import TrainError

TIMEOUT = timedelta(minutes=30)  # one process may validate a huge image while the others wait


class ProcessGroup:
    """This process's place among those that train together. As a context it connects them; all must enter it.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_size: Number of processes on this machine.
        device: The GPU of this process, or the CPU.

    Raises:
        TrainError: On entry, the other processes cannot be reached or this machine has too few GPUs. On exit, in place
            of torch's error, another process is gone.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")

    def __enter__(self) -> ProcessGroup:
        if self.size > 1:
            self._join()
        return self

    def _join(self) -> None:
        import torch.distributed as distributed

        backend = "gloo"
        if self.device.type == "cuda":
            if (gpus := torch.cuda.device_count()) <= (self.device.index or 0):
                raise TrainError(f"{self}: this machine has {gpus} GPUs; start it with --nproc-per-node {gpus}")
            torch.cuda.set_device(self.device)
            backend = "nccl"
        try:
            store, _, _ = next(distributed.rendezvous("env://", timeout=TIMEOUT))
            if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
                # torchrun's store outlives a restart, and what the earlier processes wrote would mislead these
                attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
                store = distributed.PrefixStore(f"attempt {attempt}", store)
            distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            raise TrainError(f"{self}: cannot reach the others ({single_line(error)[:200]})") from error

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if self.size == 1:
            return
        import torch.distributed as distributed

        distributed.destroy_process_group()
        if isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error)):
            raise TrainError(f"{self}: ends because another one did; torchrun says which") from error

    def __str__(self) -> str:
        return f"process {self.rank} of {self.size}"

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are averaged over the processes."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # A step may leave some parameters out: those of the mask, if the loss gives it no weight.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def crop_indices(self, first: int, last: int, batch: int) -> range | list[int]:
        """The crops that this process takes.

        Args:
            first: Number of the first batch.
            last: Number of the batch after the last.
            batch: Crops per batch, over all processes.
        """
        if self.size == 1:
            return range(first * batch, last * batch)
        share = batch // self.size
        return [step * batch + self.rank * share + i for step in range(first, last) for i in range(share)]

    def own_items(self, count: int) -> range:
        """Which of `count` items this process takes."""
        return range(self.rank, count, self.size)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over the processes, element by element."""
        return self._reduce(values, "SUM")

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.sum([float(flag)])[0] > 0

    def same_in_all(self, value: int) -> bool:
        """Whether a value below 2^53 is the same in all processes."""
        low, minus_high = self._reduce([value, -value], "MIN")
        return low == -minus_high

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.sum([0.0])

    @contextlib.contextmanager
    def fail_together(self) -> Iterator[None]:
        """End all processes if the block fails in one. Inside the block, no process may wait for another.

        Raises:
            Exception: In the first process that failed, its own error.
            SystemExit: In the others.
        """
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.size == 1:
                raise
            failed = error
        [first] = self._reduce([self.size if failed is None else self.rank], "MIN")
        if failed is not None and first == self.rank:
            raise failed
        if first < self.size:
            raise SystemExit(1)

    def _reduce(self, values: Sequence[float], operation: str) -> list[float]:
        if self.size == 1:
            return list(values)
        import torch.distributed as distributed

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation))
        result: list[float] = tensor.tolist()
        return result
