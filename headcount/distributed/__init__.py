"""Counting millions of images on a Ray cluster: the worker, and storage on disks and object stores."""

from typing import TYPE_CHECKING

from headcount._lazy import lazy_names

if TYPE_CHECKING:
    from headcount.distributed.storage import Folder
    from headcount.distributed.worker import Shard, Worker, WorkerConfig

__all__ = ["Folder", "Shard", "Worker", "WorkerConfig"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Folder": "headcount.distributed.storage",
        "Shard": "headcount.distributed.worker",
        "Worker": "headcount.distributed.worker",
        "WorkerConfig": "headcount.distributed.worker",
    },
)
