"""The processes that train one network together, as torchrun starts them: each takes its share of every batch.

What is unusual: nothing else in headcount knows of torch.distributed. A process of its own is rank 0 of 1, and then
nothing here does anything. Crops depend on their number alone, and every loss is a mean over crops, so that N processes
with equal shares of a batch learn what one process with the whole batch learns, but for the rounding of sums.
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from torch import nn

from .config import TrainError

TIMEOUT = timedelta(minutes=30)  # for the slowest: one process may validate a huge picture while the others wait


class Ranks:
    """This process's place: `rank` of `size`, and its `device`. A context, which the others must enter too.

    Raises on entry:
        TrainError: the others cannot be reached.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")

    def __enter__(self) -> Ranks:
        if self.size > 1:
            import torch.distributed as distributed

            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            try:
                distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=TIMEOUT)
            except (RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:200]
                raise TrainError(
                    f"process {self.rank} of {self.size} cannot reach the others ({reason});"
                    " after a restart, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"
                ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self.size > 1:
            import torch.distributed as distributed

            distributed.destroy_process_group()

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients that are the mean over the processes."""
        if self.size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # Some networks have parameters that a step leaves out: the mask's, where the true mask is given.
        return DistributedDataParallel(model, find_unused_parameters=True)

    def numbers(self, first: int, last: int, batch: int) -> range | list[int]:
        """The crops that this process takes of the batches `first` .. `last` - 1, each of `batch` crops in all."""
        if self.size == 1:
            return range(first * batch, last * batch)
        share = batch // self.size
        return [step * batch + self.rank * share + i for step in range(first, last) for i in range(share)]

    def sums(self, values: list[float]) -> list[float]:
        """Element by element over the processes."""
        if self.size == 1:
            return values
        import torch.distributed as distributed

        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.tolist()

    def wait(self) -> None:
        """Until all processes are here."""
        self.sums([0.0])

    def any(self, flag: bool) -> bool:
        """Whether the flag stands in any of the processes."""
        return self.sums([float(flag)])[0] > 0
