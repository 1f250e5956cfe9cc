"""The TensorRT module at hand, whichever it is, and what it can do: asked by name, never by version.

TensorRT 8.6 to 11 and TensorRT-RTX differ in a handful of names (docs/targets.md). Nothing else here imports them.
"""

from __future__ import annotations

import importlib
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgekin.errors import ConfigError, EdgekinError

#: Target -> the modules that may serve it, in order.
MODULES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
REMEDIES = {
    "tensorrt": ("On a Jetson install apt's python3-libnvinfer and make the venv with --system-site-packages, "
                 "elsewhere run pip install tensorrt"),
    "tensorrt-rtx": "Run: pip install 'edgekin[rtx]'",
}

#: Of what TensorRT logged, in one of our errors.
MAX_ERROR_CHARS = 300


@dataclass(frozen=True)
class Message:
    """What TensorRT logged."""

    severity: str  # INTERNAL_ERROR | ERROR | WARNING | INFO | VERBOSE
    text: str


class Api:
    """A TensorRT module and what it can do.

    Args:
        target: tensorrt or tensorrt-rtx.
        module: the imported module.
    """

    def __init__(self, target: str, module: Any) -> None:
        self.target, self.module = target, module
        self.messages: list[Message] = []

    @property
    def version(self) -> str:
        """As the module gives it."""
        return str(self.module.__version__)

    @cached_property
    def logger(self) -> Any:
        """An ILogger that keeps what is logged in `messages`."""
        messages, base = self.messages, self.module.ILogger

        class Log(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, text: str) -> None:
                messages.append(Message(severity.name, text))

        return Log()

    def errors(self) -> str:
        """The errors logged so far, in one line that is not too long; empty where there are none."""
        texts = [m.text for m in self.messages if m.severity in ("ERROR", "INTERNAL_ERROR")]
        return textwrap.shorten("; ".join(dict.fromkeys(texts)), MAX_ERROR_CHARS, placeholder=" ...")

    # ---- what it can do ----

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds for GPUs that are not here."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    @property
    def typings(self) -> tuple[str, ...]:
        """How precisions can be asked for, best first: by the network's types (strong), by builder flags (weak)."""
        # TensorRT-RTX, which builds ahead of time, has had the flags without obeying them.
        weak = not self.ahead_of_time and all(hasattr(self.module.BuilderFlag, name) for name in ("FP16", "INT8"))
        # Where there are no flags, types are all that is left, named or not.
        strong = hasattr(self.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") or not weak
        return ("strong",) * strong + ("weak",) * weak

    def network_flags(self, typing: str) -> int:
        """The flags of create_network; a flag that a version does not know is one that it does not need."""
        flags = self.module.NetworkDefinitionCreationFlag
        names = ["EXPLICIT_BATCH"] + ["STRONGLY_TYPED"] * (typing == "strong")
        return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))

    def capability(self, sm: int) -> Any:
        """Return the member of ComputeCapability for sm; raises ConfigError where plans cannot be built for it."""
        members = self.module.ComputeCapability
        known = sorted(int(name[2:]) for name in dir(members) if name[:2] == "SM" and name[2:].isdigit())
        if sm not in known:
            raise ConfigError(f"{self.target} {self.version} builds for SM {', '.join(map(str, known))}, got {sm}",
                              "Build on the device itself: edgekin compile --target tensorrt")
        return getattr(members, f"SM{sm}")


def load(target: str) -> Api:
    """Import what serves a target.

    Raises:
        ConfigError: it is not installed or cannot be loaded; the hint says how to get it.
    """
    why = ""
    for name in MODULES[target]:
        try:
            return Api(target, importlib.import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                why = f"{name} is incomplete: {error}"
        except (ImportError, OSError, RuntimeError, EdgekinError) as error:
            why = f"{name} cannot be loaded: {error}"
    raise ConfigError(f"target {target} needs the Python package {MODULES[target][0]}, which "
                      f"{'is not installed' if not why else f'is of no use here ({why})'}", REMEDIES[target])
