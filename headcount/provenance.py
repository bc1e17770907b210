"""What a measured number depends on: the date, the version, the commit and the processor."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def provenance() -> dict[str, str | None]:
    """Return the date (UTC), the version and commit of headcount, and the name of the processor."""
    from headcount import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": git_commit(),
        "cpu": cpu_name(),
    }


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
