"""What a measured figure depends on: the version, the commit and the processor."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def provenance() -> dict[str, Any]:
    """When, with which headcount and on what: date (UTC), version, commit, cpu."""
    from headcount import __version__

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "commit": git_commit(),
        "cpu": cpu_name(),
    }


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, `-dirty` where files differ; None without one."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # installed, perhaps inside some other project's checkout
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return said.strip() or None


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
