"""YAML -> frozen dataclasses, validated whole; an unknown key is answered with the one that was meant."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgekin.errors import ConfigError

T = TypeVar("T")

#: No honest configuration comes near; it bounds what a hostile one can ask to be read.
MAX_YAML_BYTES = 1 << 20


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping with string keys.

    Raises:
        ConfigError: not readable, too long, not YAML, or no such mapping; names the file.
    """
    import yaml

    try:
        if Path(path).stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"{path} is longer than {MAX_YAML_BYTES} bytes", "Give a configuration file")
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {str(error).splitlines()[0]}", "Correct it") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path} holds no mapping of names to values", "Write `key: value` lines")
    return content


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build a dataclass from a mapping, checking names and types; a `validated` method, where there is one, is run.

    Args:
        cls: a frozen dataclass of int, float, str, bool, Path or optional fields, or dataclasses of such.
        mapping: field -> value.
        where: what the mapping is, for messages ("train.yaml").

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.
    """
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            raise _unknown(str(key), list(fields), where)
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in mapping.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{where} lacks {name!r}", f"Add `{name}: ...`")
    made = cls(**values)
    check = getattr(made, "validated", None)
    return check() if callable(check) else made


def _unknown(key: str, known: list[str], where: str) -> ConfigError:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}"
    return ConfigError(f"{where} has the unknown key {key!r}", hint)


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        hint = next(a for a in get_args(hint) if a is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} is {value!r}, expected a mapping", "Write `key: value` lines under it")
        return from_mapping(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    wrong_bool = isinstance(value, bool) and hint is not bool
    if isinstance(hint, type) and (wrong_bool or not isinstance(value, hint)):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
        raise ConfigError(f"{where} is {value!r}, expected {names.get(hint, hint.__name__)}", "Correct the value")
    return value
