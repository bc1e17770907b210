"""The command-line application that the command modules add to."""

from __future__ import annotations

import cyclopts

from headcount import __version__

app = cyclopts.App(
    name="headcount",
    help="Count people in photos and video; train, evaluate, export and serve the models that do it.",
    version=__version__,
    suppress_keyboard_interrupt=False,
)
