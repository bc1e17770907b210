"""Reading dataclasses from parsed TOML or JSON, with every value checked down to the last list element."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Hint = Any  # the type of a field, such as int or tuple[float, ...]
Path = tuple[str | int, ...]  # keys and list indices that lead to a value

NAMES = {int: ("an integer", "integers"), float: ("a number", "numbers"), str: ("text", "texts")}
NAMES |= {bool: ("true or false", "true or false")}


class SettingsError(ValueError):
    """A setting that is unknown or has a value of the wrong type. The message is one line that names it."""


def read_settings(kind: type[T], values: object, where: str) -> T:
    """Build a dataclass from nested tables. Lists become tuples, and integers are accepted as floats.

    Args:
        kind: A dataclass. Its fields may be scalars, tuples, other dataclasses, and tuples or dicts of dataclasses.
        values: What a TOML or JSON parser returned.
        where: The file or option that the values come from. It starts every error message.

    Raises:
        SettingsError: A table is not a table, a setting is unknown, or a value has the wrong type. Booleans are not
            numbers, and numbers are not text.
    """
    return cast(T, _read(kind, values, where, ()))


def _read(hint: Hint, values: object, where: str, path: Path) -> object:
    """`values` as the type `hint`; `path` says where in the settings they are."""
    if is_dataclass(hint):
        return _read_table(hint, values, where, path)
    item = _dataclass_item(hint)
    if item is None:
        return _read_value(hint, values, where, path)
    if get_origin(hint) is dict:
        tables = _table(values, where, path)
        return {key: _read(item, value, where, (*path, key)) for key, value in tables.items()}
    if not isinstance(values, list | tuple):
        raise SettingsError(f"{_subject(where, path)} must be a list of tables, got {values!r}")
    return tuple(_read(item, value, where, (*path, index)) for index, value in enumerate(values))


def _read_table(kind: Hint, values: object, where: str, path: Path) -> object:
    """The dataclass `kind` from a table."""
    table, hints = _table(values, where, path), get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    if unknown := sorted(str(key) for key in table if key not in known):
        prefix = f" [{_dotted(path)}]" if path else ""
        raise SettingsError(f"{where}{prefix}: unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return kind(**{name: _read(hints[name], value, where, (*path, name)) for name, value in table.items()})


def _read_value(hint: Hint, value: object, where: str, path: Path) -> object:
    """A scalar or a list of scalars."""
    import msgspec

    try:
        return msgspec.convert(value, hint, strict=True)
    except msgspec.ValidationError as error:
        index = re.search(r"`\$\[(\d+)\]`", str(error))  # "Expected `int`, got `str` - at `$[0]`"
        if index is not None:
            element = int(index[1])
            value = cast(Sequence[object], value)[element]
            hint, path = _element(hint), (*path, element)
        raise SettingsError(f"{_subject(where, path)} must be {describe(hint)}, got {value!r}") from None


def _table(values: object, where: str, path: Path) -> Mapping[str, object]:
    if not isinstance(values, Mapping):
        raise SettingsError(f"{_subject(where, path)} must be a table of settings, got {values!r}")
    return values


def _dataclass_item(hint: Hint) -> Hint | None:
    """The dataclass that a tuple[X, ...] or a dict[str, X] holds, or None."""
    if get_origin(hint) not in (dict, tuple):
        return None
    item = get_args(hint)[1 if get_origin(hint) is dict else 0]
    return item if is_dataclass(item) else None


def _element(hint: Hint) -> Hint:
    """The type of the elements of a tuple. All tuples of settings are of one type."""
    return get_args(_without_none(hint))[0]


def _without_none(hint: Hint) -> Hint:
    """X of an optional X."""
    if get_origin(hint) in (Union, UnionType):
        return next(option for option in get_args(hint) if option is not type(None))
    return hint


def describe(hint: Hint) -> str:
    """What a setting of the type `hint` must be, in words: "an integer", "a list of 2 numbers".

    Args:
        hint: int, float, str, bool, a tuple of one of them, or one of these or None.
    """
    hint = _without_none(hint)
    if get_origin(hint) is not tuple:
        return NAMES[hint][0]
    arguments = get_args(hint)
    count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
    return f"a list of {count}{NAMES[arguments[0]][1]}"


def _subject(where: str, path: Path) -> str:
    """The file and the setting, as the start of a sentence."""
    return f"{where}: {_dotted(path)}" if path else where


def _dotted(path: Path) -> str:
    """("data", "crop", 0) -> "data.crop[0]"."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
