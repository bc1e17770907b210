"""Drawing and writing in a second thread while the command counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec

MAX_PENDING = 4  # functions that may wait to be run

P = ParamSpec("P")


class BackgroundThread:
    """Runs functions in one other thread, in order, while the caller continues counting.

    Leaving the context waits for all functions. Their ValueErrors and OSErrors are passed on as messages.
    """

    def __init__(self, report_error: Callable[[str], None]):
        self.report_error = report_error
        self.executor = ThreadPoolExecutor(1)
        self.pending: deque[Future[None]] = deque()

    def __enter__(self) -> BackgroundThread:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.wait_until_pending(0)
        self.executor.shutdown()

    def submit(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Schedule a function. Blocks while more than MAX_PENDING functions are waiting."""
        self.pending.append(self.executor.submit(function, *args, **kwargs))
        self.wait_until_pending(MAX_PENDING)

    def wait_until_pending(self, limit: int) -> None:
        while len(self.pending) > limit:
            try:
                self.pending.popleft().result()
            except (ValueError, OSError) as error:
                self.report_error(str(error))
