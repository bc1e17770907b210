"""The `headcount` command: thin doors to the rooms.

What is unusual: everything but cyclopts is imported inside the command that needs it, so a count from a cold
start pays for counting alone. Results go to stdout, everything else to stderr. Exit codes: 0 all well, 1 an
input failed (the others' results stand), 2 wrong usage, 130 stopped by Ctrl-C (what was counted until then
stands), 141 nobody reads stdout.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import cyclopts

from headcount import __version__
from headcount._extras import EXTRAS, install_hint
from headcount.cli import datasets, serve, training  # noqa: F401  each adds its commands to app
from headcount.cli.app import app
from headcount.cli.count import CountOptions, tally
from headcount.cli.count_ray import RayOptions, count_on_ray
from headcount.cli.output import UsageError, draw, say, usage_errors


@app.command
def count(
    *inputs: Annotated[str, cyclopts.Parameter(json_list=False)],  # a name may begin with a bracket
    options: CountOptions = CountOptions(),  # noqa: B008  never changed
    scale: RayOptions = RayOptions(),  # noqa: B008
) -> int:
    """Count the people in photos, videos and cameras.

    Parameters
    ----------
    inputs
        Pictures, folders of them (which are searched through), videos, addresses (rtsp://...) and cameras' numbers.
    """
    if scale.ray:
        return count_on_ray(inputs, options, scale)
    if scale != RayOptions():
        raise UsageError("--paths, --retry, --part, --workers and --readers are options of --ray")
    return tally(inputs, options)


@app.command
def info(*, model: Path | None = None) -> int:
    """Show the version, the engines that are installed, and what a model says of itself.

    Parameters
    ----------
    model
        An .onnx file, a checkpoint folder, or the name of a model that comes with headcount (headcount info lists
        them); without it, the default one.
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from headcount.inference.engines import ENGINES, installed, open_engine
    from headcount.inference.pretrained import WEIGHTS, find_model
    from headcount.provenance import cpu_name

    path = find_model(model)
    lines = {
        "headcount": __version__,
        "python": sys.version.split()[0],
        "processor": f"{cpu_name()}, {os.cpu_count()} cores",
    }
    for engine in ENGINES:
        try:
            lines[engine] = version_of(engine) if installed(engine) else "not installed"
        except PackageNotFoundError:  # another build of it, onnxruntime-gpu for one
            lines[engine] = "installed"
    with usage_errors():
        opened = open_engine(path)
    meta = opened.meta
    lines["auto chooses"] = f"{opened.name}, {opened.precision}"
    lines["models"] = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.onnx")))
    lines["model"] = f"{meta.name}, {meta.parameters / 1e6:.1f} million parameters ({path})"
    lines["trained on"] = meta.data or "it does not say"
    lines["measured"] = ", ".join(f"{k} {v}" for k, v in meta.metrics.items()) or "it does not say"
    if meta.interval:
        lines["intervals"] = f"hold {meta.interval['coverage']:.0%} of the counts on pictures like its validation lists"
    lines["cells"] = (
        f"{meta.stride} px; tiles overlap by {meta.halo} px; short sides are enlarged to {meta.min_side} px"
    )
    for key, value in lines.items():
        print(f"{key:<13} {value}")
    return 0


@app.command
def demo(*, out: Path = Path()) -> int:
    """Count the picture that comes with headcount, whose true number is known.

    Parameters
    ----------
    out
        Folder for the picture with its density map on top.
    """
    from headcount.inference.counter import load

    example = Path(__file__).parents[1] / "examples" / "crowd.jpg"
    true = json.loads(example.with_suffix(".json").read_text(encoding="utf-8"))["count"]
    with usage_errors():
        counter = load()
    result = counter.count(example)
    print(f"counted {result.count:.0f} people in {result.seconds:.2f} s; there are {true}")
    target = out / "crowd.overlay.jpg"
    draw(result, example, target)
    print(f"where they are: {target}")
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. Whatever the input, the user sees lines, not a traceback."""
    if sys.stdout is None:  # started with it closed
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for as long as this process lives
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
        sys.stdout.flush()
    except (cyclopts.CycloptsError, UsageError) as error:
        say(f"{error}\nheadcount --help and headcount COMMAND --help say what there is")
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `headcount ... | head` read enough; and what is still buffered must not fail at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(str(error.name), "train")
        say(f"this needs {error.name}, which is not installed: {install_hint(extra)}")
        code = 1
    except (ValueError, OSError) as error:
        say(str(error))
        code = 1
    sys.exit(code)
