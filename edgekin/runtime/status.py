"""The status codes of the C library as exceptions and texts."""

from __future__ import annotations

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault


def status_text(status: int) -> str:
    """Return the C library's one line for a status."""
    return str(ffi.string(lib.ek_status_text(status)).decode())


def status_name(status: int) -> str:
    """Return a status's short name, lower case, as reports carry it (0 -> "ok", -12 -> "stale")."""
    return str(ffi.string(lib.ek_status_name(status)).decode()).removeprefix("EK_").removeprefix("E_").lower()


def status_code(name: str) -> int:
    """Return the status with this short name ("stale" -> -12).

    Raises:
        KeyError: the library knows no such status.
    """
    codes = {status_name(-index): -index for index in range(lib.ek_status_count())}
    return codes[name]


def check(status: int, what: str, hint: str = "") -> int:
    """Pass a non-negative status through.

    Args:
        status: what a function of edgekin.h returned.
        what: what was attempted, the head of the error message.
        hint: the remedy.
    Returns:
        the status.
    Raises:
        RuntimeFault: the status is negative.
    """
    if status < 0:
        raise RuntimeFault(f"{what}: {status_text(status)}", hint)
    return status
