"""The Python binding of engines/: cffi, API mode, generated from the one public header."""

import re
from pathlib import Path

from cffi import FFI

ENGINES = Path(__file__).resolve().parent if "__file__" in globals() else Path("engines").resolve()


def declarations(header: str) -> str:
    """Return the part of the header that cffi reads: all but what stands between cffi:off and cffi:on."""
    return re.sub(r"/\* cffi:off \*/.*?/\* cffi:on \*/", "", header, flags=re.DOTALL)


def sources() -> list[str]:
    """Return the C files of the engine library, relative to the project root as setuptools wants them."""
    folders = ("core", "native", "render", "splat", "learn")
    return [f"engines/{path.relative_to(ENGINES)}" for f in folders for path in sorted((ENGINES / f).glob("*.c"))]


ffi = FFI()
ffi.cdef(declarations((ENGINES / "include" / "edgekin.h").read_text()))
ffi.set_source(
    "edgekin._ek",
    '#include "edgekin.h"',
    sources=sources(),
    include_dirs=["engines/include"],
    depends=[f"engines/{path.relative_to(ENGINES)}" for path in sorted(ENGINES.glob("*/*.h"))],
    # No -march: the ISA is chosen at load. No fast-math and no contraction: the same bits on every machine.
    extra_compile_args=["-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fvisibility=hidden"],
    libraries=["m", "pthread"],
)
