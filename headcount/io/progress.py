"""A progress bar for work that takes a while."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(
    total: int | None, description: str = "", done: int = 0, shown: bool = True
) -> Iterator[Callable[[], None]]:
    """Show a bar on stderr with the rate and the remaining time, and nothing where stderr is not a terminal.

    Args:
        total: Number of steps, or None if it is unknown.
        description: Text before the bar.
        done: Steps that were done before.
        shown: Whether there is a bar at all.

    Yields:
        A function to call after each step.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(description, total=total, completed=done, rate="")
        state = bar.tasks[0]

        def step() -> None:
            rate = f"{state.speed:.1f}/s" if state.speed else ""
            bar.update(task, advance=1, rate=rate)

        yield step
