"""What this core can do at most, measured by the C library: multiply-accumulates a second and bytes read a second."""

from __future__ import annotations

from dataclasses import dataclass

from edgekin._ek import lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.engine import CPU_ISAS, FILE_PRECISIONS
from edgekin.runtime.status import check

#: Buffers that fit into the second-level cache and those that fit into no cache, on any core of the last ten years.
L2_BYTES, DRAM_BYTES = 192 << 10, 64 << 20
BUDGET_S = 0.1


@dataclass(frozen=True)
class Roofline:
    """The two roofs over one engine. Source: Williams, Waterman, Patterson, Roofline, CACM 52(4), 2009."""

    isa: str
    gmacs: float  # 10^9 multiply-accumulates a second at the engine's precision, operands in registers
    weights_gb_s: float  # 10^9 bytes a second read from a buffer as large as the engine's weights
    maps_gb_s: float  # the same from the second-level cache, where feature maps are

    def ideal_ns(self, macs: int, weight_bytes: int, map_bytes: int) -> float:
        """Return the time that the work takes at least: computing and moving overlap, moving does not with itself."""
        return max(macs / self.gmacs, weight_bytes / self.weights_gb_s + map_bytes / self.maps_gb_s)


def peak_gmacs(isa: str, precision: str, budget_s: float = BUDGET_S) -> float:
    """Return 10^9 multiply-accumulates a second in the instruction mix of the engine's kernels.

    Args:
        isa: auto, or an instruction set that this machine runs.
        precision: fp32 or int8.
        budget_s: seconds to measure for; the best turn counts.

    Raises:
        RuntimeFault: this machine does not run the instruction set.
    """
    if isa not in CPU_ISAS or precision not in FILE_PRECISIONS:
        raise RuntimeFault(f"there is no roofline of {isa!r} at {precision!r}",
                           f"Use one of {', '.join(CPU_ISAS)} and one of {', '.join(FILE_PRECISIONS)}")
    return _measured(lib.ek_roofline_gmacs(CPU_ISAS.index(isa), FILE_PRECISIONS.index(precision), int(budget_s * 1e9)),
                     f"cannot measure {isa}")


def read_gb_s(buffer_bytes: int, budget_s: float = BUDGET_S) -> float:
    """Return 10^9 bytes a second read from a buffer of this size, again and again.

    Raises:
        RuntimeFault: the buffer is too small, too large, or there is no memory for it.
    """
    return _measured(lib.ek_roofline_read_gb_s(buffer_bytes, int(budget_s * 1e9)), f"cannot read {buffer_bytes} bytes")


def _measured(value: float, what: str) -> float:
    check(int(value) if value < 0 else 0, what)
    return float(value)


def measure_roofline(isa: str, precision: str, weight_bytes: int, budget_s: float = BUDGET_S) -> Roofline:
    """Measure the roofs over an engine; about three budgets long.

    Args:
        isa: the engine's instruction set.
        precision: the engine's.
        weight_bytes: of all its layers.
        budget_s: seconds for each of the three measurements.
    """
    return Roofline(isa, peak_gmacs(isa, precision, budget_s), read_gb_s(max(weight_bytes, 256), budget_s),
                    read_gb_s(L2_BYTES, budget_s))
