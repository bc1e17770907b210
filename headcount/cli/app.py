"""The cyclopts application to which the command modules add their commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cyclopts

from headcount import __version__


class ConfigFile(cyclopts.config.Toml):
    """A TOML file of defaults. Errors name the file."""

    @property
    def config(self) -> dict[str, Any]:
        try:
            return super().config
        except cyclopts.CycloptsError as error:
            raise cyclopts.CycloptsError(msg=f"{self.path}: {error}") from None


# Defaults of options, as in `[count]` and `scale = 0.5`: those of the working folder, then the user's own.
CONFIG_FILES = ("headcount.toml", Path("~/.config/headcount/headcount.toml").expanduser())

app = cyclopts.App(
    name="headcount",
    help="Count people in photos and video. Train, evaluate, export and serve models.",
    version=__version__,
    suppress_keyboard_interrupt=False,
    config=[ConfigFile(path) for path in CONFIG_FILES],
)

# The headings of `headcount --help`, in this order.
COUNTING = cyclopts.Group("Counting", sort_key=1)
DATA = cyclopts.Group("Annotated data", sort_key=2)
MODELS = cyclopts.Group("Training and evaluation", sort_key=3)
OTHER = cyclopts.Group("Other", sort_key=4)

app.register_install_completion_command(name="--install-completion", add_to_startup=True)
for flag in ("--help", "--version", "--install-completion"):
    app[flag].group = OTHER
