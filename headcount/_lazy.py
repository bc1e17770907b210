"""Names of a package that are imported on first use, so that counting never waits for torch or OpenVINO."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the module-level `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: Name of the package, for the error message.
        modules: Maps each public name to the module that defines it.

    Returns:
        `__getattr__`, which imports a name's module on first use, and `__dir__`, which lists the names.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return find, lambda: sorted(modules)
