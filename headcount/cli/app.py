"""The cyclopts application to which the command modules add their commands."""

from __future__ import annotations

import cyclopts

from headcount import __version__

app = cyclopts.App(
    name="headcount",
    help="Count people in photos and video. Train, evaluate, export and serve models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)

# The headings of `headcount --help`, in this order.
COUNTING = cyclopts.Group("Counting", sort_key=1)
DATA = cyclopts.Group("Annotated data", sort_key=2)
MODELS = cyclopts.Group("Training and evaluation", sort_key=3)
OTHER = cyclopts.Group("Other", sort_key=4)

for flag in ("--help", "--version"):
    app[flag].group = OTHER
