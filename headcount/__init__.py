"""headcount counts people in photos and video, and trains, evaluates and exports the models that do it.

    import headcount
    result = headcount.load().count("photo.jpg")
    print(result.count)

Every name is imported on first use, so `import headcount` costs nothing and counting never imports torch.
"""

import importlib
import sys
import types

__version__ = "0.1.0"
__all__ = ["CountResult", "Counter", "evaluate", "export", "finetune", "load", "train"]

_ROOMS = {
    "load": "counter",
    "Counter": "counter",
    "CountResult": "counter",
    "train": "train",
    "finetune": "finetune",
    "evaluate": "evaluate",
    "export": "export",
}


class _Package(types.ModuleType):
    """The package itself. headcount.evaluate is the function, though importing the module headcount.evaluate
    makes Python assign that module to the same name: such an assignment is dropped here. `from
    headcount.evaluate import x` works as ever."""

    def __getattr__(self, name: str):
        if name not in _ROOMS:
            raise AttributeError(f"module 'headcount' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"headcount.{_ROOMS[name]}"), name)
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value) -> None:
        if not (name == _ROOMS.get(name) and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self):
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
