"""The texts of engines/mcu, which the C library carries: kernels, board support and project files."""

from __future__ import annotations

from functools import cache

from edgekin.errors import ConfigError


@cache
def kernel(name: str) -> str:
    """Return a file of engines/mcu by its path there; raises ConfigError for one that the library was built without."""
    from edgekin._ek import ffi, lib

    text = lib.ek_mcu_text(name.encode())
    if text == ffi.NULL:
        raise ConfigError(f"the C library carries no {name}", "Build it again: pip install -e .")
    return str(ffi.string(text).decode())


def filled(name: str, values: dict[str, object]) -> str:
    """Return a file with values in the place of @names@."""
    text = kernel(name)
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text
