"""A decoder as a program of kernels: tables for the flash, steps in order, and where their maps lie in one arena."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

#: Maps begin at whole multiples of this, and kernels may read so far beyond their ends.
ALIGN = 16


@dataclass(frozen=True)
class Table:
    """Constant numbers of one C type."""

    name: str
    ctype: str
    values: NDArray[Any]


@dataclass(frozen=True)
class Struct:
    """A constant struct."""

    name: str
    ctype: str
    fields: str  # its initialiser, without braces


@dataclass(frozen=True)
class Step:
    """One call of a kernel."""

    kernels: tuple[str, ...]  # files of engines/mcu that it needs, in their order
    call: str  # C, with {input}, {output} and {scratch} in the place of pointers
    out_bytes: int  # of the map that it writes
    scratch_bytes: int = 0
    layer: str = ""  # of the graph
    macs: int = 0
    in_place: bool = False
    still_bytes: int = 0  # of the map: what is written without being computed


@dataclass(frozen=True)
class Placed:
    """A step and the offsets of its maps in the arena."""

    step: Step
    input: int
    output: int
    scratch: int


@dataclass
class Program:
    """What the emitter writes."""

    constants: list[Table | Struct] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def kernels(self) -> list[str]:
        """The files of engines/mcu that the steps need, each once."""
        return list(dict.fromkeys(name for step in self.steps for name in step.kernels))


def _room(n: int) -> int:
    return -(-n // ALIGN) * ALIGN + ALIGN


def place(steps: Sequence[Step]) -> tuple[list[Placed], int]:
    """Return where the maps lie, and the bytes of the arena: inputs and outputs take turns at its two ends."""
    sizes = [0]
    for step in steps:  # what shrinks in its place keeps the room that it had
        sizes.append(sizes[-1] if step.in_place else _room(step.out_bytes))
    total = max(a + b * (not s.in_place) + _room(s.scratch_bytes) * bool(s.scratch_bytes)
                for a, b, s in zip(sizes, sizes[1:], steps, strict=False))
    placed, low, at = [], True, 0
    for step, size_in, size_out in zip(steps, sizes, sizes[1:], strict=False):
        if step.in_place:
            placed.append(Placed(step, at, at, 0))
            continue
        out = total - size_out if low else 0
        placed.append(Placed(step, at, out, size_in if low else size_out))
        low, at = not low, out
    return placed, total
