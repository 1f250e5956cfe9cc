"""Exported sources become images for emulated boards, by the cross compilers; their flash and RAM, exactly."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekin.compile.mcu.cores import ARM, PACKAGES, RISCV, Core
from edgekin.compile.mcu.sources import kernel
from edgekin.errors import ConfigError, RuntimeFault

#: C99 as exported sources are written; no loop becomes a call of the C library behind their back.
FLAGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-ffunction-sections", "-fdata-sections",
         "-fno-tree-loop-distribute-patterns")
HOST = "host"
_START = {ARM: "start_arm.c", RISCV: "start_riscv.c"}


@dataclass(frozen=True)
class Sizes:
    """Of an image."""

    flash_bytes: int  # code, constants and the first values of variables
    ram_bytes: int  # variables: the stack comes on top


def require(*tools: str) -> None:
    """Raise ConfigError, naming the packages, unless every command is installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is not installed, which microcontrollers are emulated with",
                          f"Run: apt-get install --no-install-recommends {' '.join(PACKAGES)}")


def command(args: Sequence[str], cwd: Path) -> str:
    """Run a tool and return its output; raises RuntimeFault with the first line of what it says."""
    done = subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.splitlines() or ["nothing was said"]
        lines = [line for line in said if "rror: " in line] or said
        raise RuntimeFault(f"{args[0]} failed: {lines[0]}")
    return done.stdout


def version(core: Core) -> str:
    """Return the first line of what the compiler says of its version."""
    return command([core.compiler, "--version"], Path()).splitlines()[0]


def _script(core: Core) -> str:
    text = kernel("board/board.ld")
    for name, region in (("code", core.code), ("data", core.data), ("constants", core.constants)):
        text = text.replace(f"@{name}_origin@", hex(region.origin)).replace(f"@{name}_length@", str(region.length))
    return text


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files by their path in a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _tool(core: Core, name: str) -> str:
    return core.compiler.removesuffix("gcc") + name


def build(core: Core, folder: Path, sources: Sequence[str], board: str, image: str) -> Path:
    """Link sources and a program of the board into an image.

    Args:
        core: for which; its compiler must be installed.
        folder: holds the sources, and is built in.
        sources: paths in the folder.
        board: the program, bench.c or app.c.
        image: its name.

    Raises:
        ConfigError: no compiler.
        RuntimeFault: the compiler refuses.
    """
    require(core.compiler)
    names = (board, _START[core.compiler], "board.h", "subjects.h")
    write(folder, {name: kernel(f"board/{name}") for name in names} | {f"{core.name}.ld": _script(core)})
    specs = ["--specs=picolibc.specs"] if core.compiler == RISCV else []
    args = [core.compiler, *FLAGS, *core.flags, "-nostartfiles", "-I.", "-Isrc", *sources, *names[:2],
            f"-T{core.name}.ld", "-Wl,--gc-sections,--no-warn-rwx-segments", *specs, "-nostdlib", "-lc", "-lgcc",
            "-o", image]
    command(args, folder)
    return folder / image


def build_host(folder: Path, sources: Sequence[str], image: str, flags: Sequence[str] = ()) -> Path:
    """Link sources and bench.c into a program for this machine."""
    require("cc")
    names = ("bench.c", "host.c", "board.h", "subjects.h")
    write(folder, {name: kernel(f"board/{name}") for name in names})
    command(["cc", *FLAGS, *flags, "-I.", "-Isrc", *sources, *names[:2], "-o", image], folder)
    return folder / image


def sizes(core: Core, image: Path) -> Sizes:
    """Return what an image takes."""
    found = {name: int(size) for name, size in re.findall(
        r"^(\.\S+)\s+(\d+)\s+\d+$", command([_tool(core, "size"), "-A", "-d", str(image)], image.parent), re.MULTILINE)}
    text, constants, data, bss = (found.get(name, 0) for name in (".text", ".rodata", ".data", ".bss"))
    return Sizes(text + found.get(".ARM.exidx", 0) + constants + data, data + bss)


def address(core: Core, image: Path, symbol: str) -> int:
    """Return where a function begins."""
    for line in command([_tool(core, "nm"), str(image)], image.parent).splitlines():
        value, _, name = line.split()[-3:] if len(line.split()) == 3 else ("", "", "")
        if name == symbol:
            return int(value, 16) & ~1
    raise RuntimeFault(f"{image.name} has no function {symbol}")
