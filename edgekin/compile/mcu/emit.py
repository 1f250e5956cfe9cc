"""A program as C text: the kernels that it needs, its constants and its functions, in one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from edgekin.compile.mcu.program import Placed, Program, Struct, Table, place
from edgekin.compile.mcu.sources import kernel

_WIDTH = 118  # columns of a line of numbers


def _numbers(values: NDArray[Any]) -> str:
    """Comma-separated numbers in lines."""
    lines, line = [], ""
    for value in values.ravel().tolist():
        text = f"{value},"
        if len(line) + len(text) > _WIDTH:
            lines.append(line)
            line = ""
        line += text
    return "\n".join([*lines, line])


def braced(values: NDArray[Any]) -> str:
    """Nested braces for the inner axes of an array of structs."""
    if values.ndim == 1:
        return "{" + ", ".join(map(str, values.tolist())) + "}"
    return "{" + ", ".join(braced(v) for v in values) + "}"


def constant(entry: Table | Struct) -> str:
    """Return the definition of a constant."""
    if isinstance(entry, Struct):
        return f"static const {entry.ctype} {entry.name} = {{{entry.fields}}};\n"
    plain = entry.values.ndim == 1
    body = _numbers(entry.values) if plain else "\n".join(f"{braced(v)}," for v in entry.values)
    count = entry.values.size if plain else len(entry.values)
    aligned = " EK_ALIGNED" if entry.ctype == "int8_t" else ""
    return f"static const {entry.ctype} {entry.name}[{count}]{aligned} = {{\n{body}\n}};\n"


def call(placed: Placed) -> str:
    """Return a step's call, its maps' addresses put in."""
    def at(offset: int) -> str:
        return f"(ek_arena.bytes + {offset})"

    return placed.step.call.format(input=at(placed.input), output=at(placed.output), scratch=at(placed.scratch))


@dataclass(frozen=True)
class Code:
    """Functions and constants of one decoder, and what they need."""

    text: str
    kernels: list[str]
    arena_bytes: int
    logits: int  # where they lie in the arena


def function(program: Program, name: str, marked: bool = False) -> Code:
    """Return constants and `const int8_t *name(const int32_t *joints)`; marked: each step ends with ek_mark()."""
    placed, total = place(program.steps)
    mark = "  ek_mark();\n" if marked else ""
    body = "".join(f"  {call(p)};\n{mark}" for p in placed)
    text = "".join(map(constant, program.constants)) + (
        f"\nconst int8_t *{name}(const int32_t *joints) {{\n{body}  return ek_arena.bytes + {placed[-1].output};\n}}\n")
    return Code(text, program.kernels, total, placed[-1].output)


def kernels_text(names: Sequence[str]) -> str:
    """Return the text of kernels, each once."""
    return "\n".join(kernel(name) for name in dict.fromkeys(names))


def arena(size: int) -> str:
    """Return the one memory that all maps lie in."""
    return ("/* All maps, one after the other in the same place. */\n"
            f"static union {{\n  int8_t bytes[{size}];\n  int64_t aligned[{-(-size // 8)}];\n}} ek_arena;\n\n")
