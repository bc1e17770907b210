"""Connecting to a Ray cluster and counting shards on it.

Ray Data moves no images and keeps no results. It only sends the numbers of each shard to a pool of workers and returns
how many images were counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from headcount.cli.options import RayOptions
from headcount.distributed.worker import Shard, ShardAnswer, Worker, WorkerConfig
from headcount.io.files import single_line

MAX_TASKS = 10_000  # for Ray; with more shards, several become one task
OBJECT_STORE = 256 << 20  # bytes of shared memory for a local Ray, which holds only numbers
CONNECT_TIMEOUT = 10  # seconds; Ray itself would try for minutes


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a Ray cluster, or start one on this machine, while the context lasts.

    Args:
        address: host:port, ray://host:port, auto or local.

    Raises:
        ValueError: If there is no cluster at the address; one line.
    """
    # Ray reads these variables when it is imported.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors that end the run are raised too
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")  # the command has its own
    import ray
    import ray.data

    for handler in logging.getLogger("ray.data").handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL)
    try:
        if found := re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address):
            socket.create_connection((found[1].strip("[]"), int(found[2])), CONNECT_TIMEOUT).close()
        if address == "local":
            ray.init(
                address,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE,
            )
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
    except Exception as error:  # Ray and its libraries raise errors of many types
        raise ValueError(f"--ray {address}: no cluster there ({single_line(error)[:300]}); try --ray local") from None
    try:
        yield
    finally:
        ray.shutdown()


def count_shards(
    config: WorkerConfig, shards: Sequence[Shard], options: RayOptions
) -> Generator[ShardAnswer, None, None]:
    """Count shards on the connected cluster.

    Args:
        config: What every worker needs to know.
        shards: The shards to count.
        options: The options for the cluster.

    Yields:
        The answer of a worker for each shard, in any order.

    Raises:
        ValueError: If Ray fails or has no capacity for a worker; one line.
    """
    import ray

    options = replace(options, workers=options.workers or available_workers(options))
    try:
        if not str(options.ray).startswith("ray://"):
            yield from stream_answers(config, shards, options)
            return
        # Ray Data does not run in a Ray client, so it runs in an actor.
        actor: Any = ray.remote(num_cpus=0)(AnswerStream)
        stream = actor.remote(config, shards, options)
        while (answer := ray.get(stream.next.remote())) is not None:
            yield answer
    except Exception as error:  # some messages are pages long and end with the cause
        reason = single_line(error)[-300:]
        raise ValueError(f"--ray {options.ray}: Ray stopped ({reason}); run the same command again to resume") from None


class AnswerStream:
    """`stream_answers` as an actor, in a process of the cluster."""

    def __init__(self, config: WorkerConfig, shards: Sequence[Shard], options: RayOptions):
        self.answers = stream_answers(config, shards, options)

    def next(self) -> ShardAnswer | None:
        """The next answer, or None after the last one."""
        return next(self.answers, None)


def stream_answers(
    config: WorkerConfig, shards: Sequence[Shard], options: RayOptions
) -> Generator[ShardAnswer, None, None]:
    """Count shards with a pool of actors of Ray Data and yield their answers."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.print_on_execution_start = False
    tasks = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=min(len(shards), MAX_TASKS))
    pool = ray.data.ActorPoolStrategy(
        min_size=1, max_size=options.workers, initial_size=options.workers, max_tasks_in_flight_per_actor=2
    )
    answers: Any = tasks.map_batches(
        Worker,
        fn_constructor_args=(config,),
        batch_size=1,
        compute=pool,
        num_cpus=options.worker_cpus,
        num_gpus=options.worker_gpus or None,
    )
    yield from answers.iter_rows()


def available_workers(options: RayOptions) -> int:
    """How many workers the machines of the cluster have capacity for.

    Raises:
        ValueError: If no machine has the CPUs and GPUs of a worker.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = {"CPU": options.worker_cpus, "GPU": options.worker_gpus}
    workers = sum(
        int(min(machine.get(kind, 0) // number for kind, number in wanted.items() if number)) for machine in machines
    )
    if not workers:
        asked = f"{options.worker_cpus} CPUs and {options.worker_gpus:g} GPUs"
        raise ValueError(f"--ray {options.ray}: none of its {len(machines)} machines has {asked} for a worker")
    return workers
