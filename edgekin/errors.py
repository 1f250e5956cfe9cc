"""The errors that a user can cause or meet: each says what, the value, what was expected, and the remedy."""

from __future__ import annotations


class EdgekinError(Exception):
    """An error to be shown as one line.

    Args:
        message: what is wrong, with the value and what was expected.
        hint: the remedy, an imperative sentence or a command.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ConfigError(EdgekinError):
    """A configuration, robot specification or command-line value that cannot be used."""


class RobotError(EdgekinError):
    """A URDF, mesh, joint or camera that cannot be used."""


class DataError(EdgekinError):
    """A dataset or imported recording that is missing, damaged or inconsistent."""


class BundleError(EdgekinError):
    """A bundle that is missing, damaged, of another version or for another machine."""


class RuntimeFault(EdgekinError):
    """The C side refused: carries the status text of engines/include/edgekin.h."""


class MissingExtra(EdgekinError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this step needs the Python package {package}, which is not installed",
            f"Run: pip install 'edgekin[{extra}]'",
        )


class GateMissed(EdgekinError):
    """The work was done but missed a gate that was asked for: parity, deadline or budget."""

    exit_status = 3
