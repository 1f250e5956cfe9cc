"""The cores that can be exported for, and the emulated boards that they are proved on: one table."""

from __future__ import annotations

from dataclasses import dataclass

from edgekin.errors import ConfigError

ARM, RISCV = "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc"


@dataclass(frozen=True)
class Region:
    """Memory of a board."""

    origin: int
    length: int  # bytes


@dataclass(frozen=True)
class Core:
    """A core, its compiler's flags and the board that QEMU emulates."""

    name: str
    layout: str  # rows | pairs | wide: engines/mcu/dot_*.h
    compiler: str
    flags: tuple[str, ...]
    machine: str  # of QEMU
    code: Region
    data: Region  # RAM
    constants: Region  # weights: larger than some boards' code memory
    tick_ns: float  # of the counter that counts instructions where QEMU takes no plugin; 1 instruction is 1 ns there

    @property
    def emulator(self) -> str:
        """QEMU's command."""
        return "qemu-system-arm" if self.compiler == ARM else "qemu-system-riscv32"


def _arm(name: str, layout: str, flags: str, machine: str, code: Region, data: Region, constants: Region,
         tick_ns: float) -> Core:
    return Core(name, layout, ARM, ("-mthumb", *flags.split()), machine, code, data, constants, tick_ns)


MIB = 1 << 20
_CODE, _DATA, _PSRAM = Region(0, 4 * MIB), Region(0x20000000, 4 * MIB), Region(0x21000000, 16 * MIB)
_ALL = (
    _arm("m3", "rows", "-mcpu=cortex-m3", "mps2-an385", _CODE, _DATA, _PSRAM, 40),
    _arm("m4", "pairs", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard", "mps2-an386", _CODE, _DATA, _PSRAM, 40),
    _arm("m7", "pairs", "-mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard", "mps2-an500", _CODE, _DATA,
         Region(0x60000000, 16 * MIB), 40),
    _arm("m33", "pairs", "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard", "mps2-an505",
         Region(0x10000000, 4 * MIB), Region(0x38000000, 4 * MIB), Region(0x80000000, 16 * MIB), 50),
    _arm("m55", "wide", "-mcpu=cortex-m55 -mfloat-abi=hard", "mps3-an547", Region(0, MIB // 2),
         Region(0x20000000, MIB // 2), Region(0x60000000, 64 * MIB), 31.25),
    Core("rv32", "rows", RISCV, ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany"), "virt",
         Region(0x80000000, 4 * MIB), Region(0x80400000, 4 * MIB), Region(0x80800000, 64 * MIB), 1),
)
CORES = {core.name: core for core in _ALL}
#: What a bundle is exported for where nothing is said: the most common core with a DSP extension.
DEFAULT = "m4"

#: Debian's packages for all of it.
PACKAGES = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm", "qemu-system-misc",
            "gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf")


def core_of(name: str) -> Core:
    """Return a core by its name; raises ConfigError for another."""
    if name not in CORES:
        raise ConfigError(f"there is no core {name!r} here", f"Use one of {', '.join(CORES)}")
    return CORES[name]
