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
    folders = ("core", "native", "render", "splat", "inspect", "learn", "cuda")
    return [f"engines/{path.relative_to(ENGINES)}" for f in folders for path in sorted((ENGINES / f).glob("*.c"))]


def kernels(name: str = "kernels.cu", seen: set[str] | None = None) -> str:
    """Return a CUDA file with what it includes of its folder in its place: the one file that nvcc is given."""
    seen = {"host.h"} if seen is None else seen
    seen.add(name)
    lines = []
    for line in (ENGINES / "cuda" / name).read_text().splitlines(keepends=True):
        include = re.fullmatch(r'#include "([^"]+)"\n', line)
        if include is None:
            lines.append(line)
        elif include[1] not in seen:
            lines.append(kernels(include[1], seen))
    return "".join(lines)


def carried(text: str) -> str:
    """Return C code that has a text as a string, which the library can give to a compiler on the device."""
    lines = (line.replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    body = "\n".join(f'"{line}\\n"' for line in lines)
    return f"static const char *ek_cuda_source(void) {{\n  return {body};\n}}\n"


#: Of the binding alone: the kernels' source, and what edgekin.plans.engine is called by.
BINDING = """
const char *ek_cuda_source(void);
extern "Python" {
  int ek_plan_load(void *self, ek_cuda_shape *shape, char *why, int why_bytes);
  int ek_plan_enqueue(void *self, const ek_cuda_frame *frame, char *why, int why_bytes);
  void ek_plan_release(void *self);
}
"""

ffi = FFI()
ffi.cdef(declarations((ENGINES / "include" / "edgekin.h").read_text()) + BINDING)
ffi.set_source(
    "edgekin._ek",
    '#include "edgekin.h"\n' + carried(kernels()),
    sources=sources(),
    include_dirs=["engines/include"],
    depends=[f"engines/{path.relative_to(ENGINES)}" for path in sorted(ENGINES.glob("*/*.[hc]*"))],
    # No -march: the ISA is chosen at load. No fast-math and no contraction: the same bits on every machine.
    extra_compile_args=["-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fvisibility=hidden"],
    libraries=["m", "pthread", "dl"],
)
