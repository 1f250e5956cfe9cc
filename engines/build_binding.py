"""The Python binding of engines/: cffi, API mode, generated from the one public header."""

import re
from pathlib import Path

from cffi import FFI

ENGINES = Path(__file__).resolve().parent if "__file__" in globals() else Path("engines").resolve()


def declarations() -> str:
    """Return what cffi reads of the header and its parts: all but what stands between cffi:off and cffi:on."""
    include = ENGINES / "include"
    header = re.sub(r"/\* cffi:off \*/.*?/\* cffi:on \*/", "", (include / "edgekin.h").read_text(), flags=re.DOTALL)
    return re.sub(r'#include "(.+)"', lambda part: (include / part[1]).read_text(), header)


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


def literal(text: str) -> str:
    """Return a text as a C string."""
    lines = (line.replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n"))
    return "\n".join(f'"{line}\\n"' for line in lines)


def mcu_files() -> list[Path]:
    """Return the files that are exported, and those that prove them on emulated boards."""
    return sorted(path for path in (ENGINES / "mcu").rglob("*") if path.is_file())


def carried() -> str:
    """Return C code that has texts as strings: the kernels that a device compiles, and those that are exported."""
    entries = "".join(f'  if (!strcmp(name, "{path.relative_to(ENGINES / "mcu").as_posix()}"))\n    return '
                      f"{literal(path.read_text().removesuffix(chr(10)))};\n" for path in mcu_files())
    return (f"#include <string.h>\nstatic const char *ek_cuda_source(void) {{\n  return {literal(kernels())};\n}}\n"
            f"static const char *ek_mcu_text(const char *name) {{\n{entries}  return 0;\n}}\n")


#: Of the binding alone: the kernels' source, the files of engines/mcu by their path there, and what
#: edgekin.plans.engine is called by.
BINDING = """
const char *ek_cuda_source(void);
const char *ek_mcu_text(const char *name);
extern "Python" {
  int ek_plan_load(void *self, ek_cuda_shape *shape, char *why, int why_bytes);
  int ek_plan_enqueue(void *self, const ek_cuda_frame *frame, char *why, int why_bytes);
  void ek_plan_release(void *self);
}
"""

ffi = FFI()
ffi.cdef(declarations() + BINDING)
ffi.set_source(
    "edgekin._ek",
    '#include "edgekin.h"\n' + carried(),
    sources=sources(),
    include_dirs=["engines/include"],
    depends=[f"engines/{path.relative_to(ENGINES)}"
             for path in (*sorted(ENGINES.glob("*/*.[hc]*")), *sorted(ENGINES.glob("include/*/*.h")), *mcu_files())],
    # No -march: the ISA is chosen at load. No fast-math and no contraction: the same bits on every machine.
    extra_compile_args=["-O3", "-std=gnu11", "-Wall", "-Wextra", "-ffp-contract=off", "-fvisibility=hidden"],
    libraries=["m", "pthread", "dl"],
)
