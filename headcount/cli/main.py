"""The entry point of the `headcount` command.

Results go to stdout, everything else to stderr. Exit codes: 0 for success, 1 if an input failed (the results of the
others are kept), 2 for wrong usage, 130 or 143 after SIGINT or SIGTERM (results so far are kept), 141 if stdout was
closed.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import cyclopts

from headcount._extras import EXTRAS, install_hint

# Importing these modules adds their commands to `app`.
from headcount.cli import count, datasets, demo, evaluate, export, info, page, reproduce, serve, train  # noqa: F401
from headcount.cli.app import app
from headcount.cli.messages import UsageError, print_message
from headcount.io.files import single_line


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit. The user sees messages of one line, never a traceback.

    Args:
        arguments: The arguments after the name of the program. None takes those of this process.
    """
    prepare_stdout()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
        sys.stdout.flush()
    except cyclopts.UnusedCliTokensError as error:
        print_message(f"unexpected argument: {' '.join(map(str, error.unused_tokens or ()))}")
        print_message("see headcount --help")
        code = 2
    except (cyclopts.CycloptsError, UsageError) as error:
        print_message(single_line(error))
        print_message("see headcount --help")
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest of the buffer must not fail at exit
        code = 141
    except ModuleNotFoundError as error:
        print_message(missing_package(error))
        code = 1
    except (ValueError, OSError) as error:
        print_message(str(error))
        code = 1
    sys.exit(code)


def missing_package(error: ModuleNotFoundError) -> str:
    """The message about a package that is not installed, with the extra that provides it if there is one."""
    package = str(error.name).partition(".")[0]
    if package not in EXTRAS:
        return f"{package} is not installed"
    return f"{package} is not installed; {install_hint(EXTRAS[package])}"


def prepare_stdout() -> None:
    """Make stdout usable if it was closed at the start, and for file names that are not valid text."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  stays open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
