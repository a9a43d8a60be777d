"""Configuration: YAML text to frozen dataclasses, every mistake named."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import TypeVar

import yaml

T = TypeVar("T")


class ConfigError(Exception):
    """A configuration file is unreadable or does not fit; the text says where."""


def load(path: Path, into: type[T]) -> T:
    """Read a YAML file into the dataclass ``into``.

    Errors: ConfigError with the path of the first member that does not fit.
    An empty file gives the defaults.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return build({} if data is None else data, into, str(path))


def build(data: object, into: type[T], where: str) -> T:
    """Make a dataclass of a mapping, checking names and types on the way.

    Understands nested dataclasses, tuples of one type, mappings with text
    keys, optional members and the scalar types; an int fits a float.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping, got {type(data).__name__}")
    hints, fields = _members(into)
    unknown = sorted(str(k) for k in data if k not in fields)
    if unknown:
        raise ConfigError(f"{where}: unknown member {unknown[0]!r}; known are {sorted(fields)}")
    values = {k: _convert(v, hints[k], f"{where}: {k}") for k, v in data.items()}
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in values:
            raise ConfigError(f"{where}: member {name!r} is missing")
    try:
        return into(**values)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


_Members = tuple[dict[str, object], "dict[str, dataclasses.Field[object]]"]
_MEMBERS: dict[type, _Members] = {}


def _members(into: type) -> _Members:
    found = _MEMBERS.get(into)
    if found is None:
        fields = {f.name: f for f in dataclasses.fields(into)}
        found = _MEMBERS[into] = (typing.get_type_hints(into), fields)
    return found


def _convert(value: object, hint: object, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (a for a in arguments if a is not type(None))
        return _convert(value, inner, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: expected one of {list(arguments)}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list")
        return tuple(_convert(v, arguments[0], f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict or (origin is not None and issubclass(origin, typing.Mapping)):  # type: ignore[arg-type]
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: expected a mapping")
        return {str(k): _convert(v, arguments[1], f"{where}: {k}") for k, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(value, hint, where)
    return _scalar(value, hint, where)


def _scalar(value: object, hint: object, where: str) -> object:
    if hint is object:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(hint, type) and isinstance(value, hint)
    if not fits or (isinstance(value, bool) and hint is not bool):
        name = getattr(hint, "__name__", str(hint))
        raise ConfigError(f"{where}: expected {name}, got {value!r}")
    return value
