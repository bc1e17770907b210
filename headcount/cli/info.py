"""The command `headcount info`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headcount import __version__
from headcount.cli.app import COUNTING, app
from headcount.cli.messages import usage_errors

if TYPE_CHECKING:
    from headcount.inference.engines import ModelMeta


@app.command(group=COUNTING)
def info(model: Path | None = None) -> int:
    """Show the version, the installed engines and the details of a model.

    Args:
        model: An .onnx file, a checkpoint folder, or the name of a bundled model. Without it, the default
            model.
    """
    from headcount.inference.engines import ENGINES, open_engine
    from headcount.inference.pretrained import bundled_models, find_model
    from headcount.provenance import cpu_name

    path = find_model(model)
    with usage_errors():
        opened = open_engine(path)
    lines = {
        "headcount": __version__,
        "python": sys.version.split()[0],
        "processor": f"{cpu_name()}, {os.cpu_count()} cores",
        **{engine: installed_version(engine) for engine in ENGINES},
        "auto selects": f"{opened.name}, {opened.precision}",
        "models": ", ".join(bundled_models()),
        "model": opened.meta.name,
        "file": str(path),
        **model_lines(opened.meta),
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"{name:<{width}}  {text}")
    return 0


def installed_version(engine: str) -> str:
    """The version of an engine's package, or that it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    from headcount.inference.engines import installed

    if not installed(engine):
        return "not installed"
    try:
        return version(engine)
    except PackageNotFoundError:  # another distribution of the same package, such as onnxruntime-gpu
        return "installed"


def model_lines(meta: ModelMeta) -> dict[str, str]:
    """What the metadata of a model says, as lines to print."""
    lines = {
        "counts": meta.unit,
        "parameters": f"{meta.parameters / 1e6:.1f} million",
        "trained on": meta.data or "unknown",
        "measured": ", ".join(f"{name} {value}" for name, value in meta.metrics.items()) or "unknown",
    }
    if meta.interval:
        lines["intervals"] = f"{meta.interval['coverage']:.0%} coverage on images like the validation images"
    else:
        lines["intervals"] = "none; see headcount calibrate"
    lines["density cells"] = f"{meta.stride} px"
    lines["tile overlap"] = f"{meta.halo} px"
    lines["shortest side"] = f"{meta.min_side} px; smaller images are enlarged"
    return lines
