"""The processes that train one network together, as torchrun starts them: each takes its share of every batch.

What is unusual: nothing else in headcount knows of torch.distributed. A process of its own is rank 0 of 1, and then
nothing here does anything. Crops depend on their number alone, and every loss is a mean over crops, so that N processes
with equal shares of a batch learn what one process with the whole batch learns, but for the rounding of sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import nn

from headcount.io.files import single_line
from headcount.training.config import TrainError

TIMEOUT = timedelta(minutes=30)  # for the slowest: one process may validate a huge picture while the others wait


class ProcessGroup:
    """This process's place: `rank` of `size`, and its `device`. A context, which the others must enter too.

    Raises:
        TrainError: on entry, where the others cannot be reached or this machine has too few GPUs; on leaving, in place
            of torch's error where another process is gone.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")

    def __enter__(self) -> ProcessGroup:
        if self.size > 1:
            self.join()
        return self

    def join(self) -> None:
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
                # torchrun's store outlives a restart: what the processes before wrote there would lead these astray
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
    def writes(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients that are the mean over the processes."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # Some networks have parameters that a step leaves out: the mask's, where it has no weight in the loss.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def numbers(self, first: int, last: int, batch: int) -> range | list[int]:
        """The crops that this process takes of the batches `first` .. `last` - 1, each of `batch` crops in all."""
        if self.size == 1:
            return range(first * batch, last * batch)
        share = batch // self.size
        return [step * batch + self.rank * share + i for step in range(first, last) for i in range(share)]

    def sums(self, values: list[float]) -> list[float]:
        """Element by element over the processes."""
        return self.reduce(values, "SUM")

    def any(self, flag: bool) -> bool:
        """Whether the flag stands in any of the processes."""
        return self.sums([float(flag)])[0] > 0

    def agree(self, value: int) -> bool:
        """Whether the value, below 2^53, is the same in all processes."""
        low, minus_high = self.reduce([value, -value], "MIN")
        return low == -minus_high

    def wait(self) -> None:
        """Until all processes are here."""
        self.sums([0.0])

    @contextlib.contextmanager
    def fail_together(self) -> Iterator[None]:
        """What fails inside in one process ends all of them: one says why, the others leave without a word. Inside,
        nothing may wait for the other processes.

        Raises:
            Exception: in the first process that failed, what was raised there. SystemExit: in the others.
        """
        failed: Exception | None = None
        try:
            yield
        except Exception as error:
            if self.size == 1:
                raise
            failed = error
        [first] = self.reduce([self.size if failed is None else self.rank], "MIN")
        if failed is not None and first == self.rank:
            raise failed
        if first < self.size:
            raise SystemExit(1)

    def reduce(self, values: list[float], operation: str) -> list[float]:
        if self.size == 1:
            return values
        import torch.distributed as distributed

        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor, getattr(distributed.ReduceOp, operation))
        return tensor.tolist()
