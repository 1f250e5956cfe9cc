"""Numbers that options may have."""

from __future__ import annotations

from collections.abc import Iterable

from edgekin.errors import ConfigError


def check_ranges(rows: Iterable[tuple[str, float | None, float, float]]) -> None:
    """Check values of options.

    Args:
        rows: (option, value, low, high) each; None is no value, and no fault.

    Raises:
        ConfigError: for the first whose value is outside.
    """
    for option, value, low, high in rows:
        if value is not None and not low <= value <= high:
            said = value if isinstance(value, int) else f"{value:g}"
            raise ConfigError(f"{option} is {said}, expected {low:.3g} to {high:.10g}", f"Correct {option}")
