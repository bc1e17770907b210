"""What a measured figure depends on: the versions, the commit and the hardware."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = {"numpy": "numpy", "opencv": "cv2", "torch": "torch"}  # name in the record -> module


def provenance() -> dict[str, Any]:
    """Return what a run or a measurement depends on, for its record.

    Returns:
        date (UTC), version of headcount, commit, cpu, device (the GPU that torch uses, else the cpu) and versions (of
        Python and packages). torch is recorded only where this process has loaded it.
    """
    from headcount import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": git_commit(),
        "cpu": cpu_name(),
        "device": device_name(),
        "versions": {"headcount": __version__, "python": platform.python_version(), **package_versions()},
    }


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on. torch is left out unless it is loaded."""
    used = {name: module for name, module in PACKAGES.items() if module != "torch" or module in sys.modules}
    return {name: str(import_module(module).__version__) for name, module in used.items()}


def device_name() -> str:
    """The GPU that torch computes on, or the processor. torch is not imported for this."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return cpu_name()


def git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from.

    Returns:
        The short hash, with "-dirty" appended if files differ from it; None outside a git checkout.
    """
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # installed, perhaps inside the checkout of another project
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.strip() or None


def cpu_name() -> str:
    """Return the model name of the processor if the system states it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
