"""The command `headcount demo`."""

from __future__ import annotations

import json
from pathlib import Path

from headcount.cli.app import COUNTING, app
from headcount.cli.messages import usage_errors
from headcount.cli.overlays import write_overlay

EXAMPLE = Path(__file__).parents[1] / "examples" / "crowd.jpg"


@app.command(group=COUNTING)
def demo(*, out: Path = Path()) -> int:
    """Count the people in an example image whose true count is known.

    Args:
        out: Folder for the image with its density map on top.
    """
    from headcount.inference.counter import load

    true_count = json.loads(EXAMPLE.with_suffix(".json").read_text(encoding="utf-8"))["count"]
    with usage_errors():
        counter = load()
    result = counter.count(EXAMPLE)
    target = out / "crowd.overlay.jpg"
    write_overlay(result, EXAMPLE, target)
    print(f"counted {result.count:.0f} people in {result.seconds:.2f} s; the true count is {true_count}")
    print(f"density map: {target}")
    return 0
