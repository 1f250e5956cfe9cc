"""The Python face of the CUDA engine: which GPU is there, and an `Engine` whose network runs on it. Numpy only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.engine import PRECISIONS, Engine, EngineInfo, Score
from edgekin.runtime.status import status_name, status_text

T = TypeVar("T")
#: In the order of EK_CUDA_IO_* and EK_CUDA_WAIT_*.
IOS = ("mapped", "copy", "managed")
WAITS = ("spin", "block")

#: What to do where there is no GPU; the reason comes from the driver.
NO_GPU = "Install the NVIDIA driver on a machine with its GPU, or run on the CPU: --engine native"


@dataclass(frozen=True)
class CudaOptions:
    """How a GPU is used."""

    device: int = 0
    io: str = "mapped"  # mapped: the GPU reads and writes pinned memory; copy: copies around the kernel; managed
    wait: str = "spin"  # spin: poll for the result; block: sleep, and leave the core to others
    graph: bool = True  # replay a CUDA graph; False: enqueue every tick
    cooperative: bool = True  # one launch a tick, whose blocks wait for each other; False: a launch for each barrier
    blocks: int = 0  # of a launch; 0: as many as pay
    threads: int = 0  # of a block; 0: 256
    library: str = field(default_factory=lambda: os.environ.get("EDGEKIN_LIBCUDA", ""))  # empty: libcuda.so.1

    def validated(self) -> CudaOptions:
        """Return the options themselves; raises RuntimeFault for a value that is unknown."""
        if self.io not in IOS or self.wait not in WAITS:
            raise RuntimeFault(f"io is {self.io!r} and wait {self.wait!r}, expected one of {', '.join(IOS)} and one of "
                               f"{', '.join(WAITS)}")
        if self.blocks < 0 or not 0 <= self.threads <= 256 or self.threads % 32:
            raise RuntimeFault(f"a launch of {self.blocks} blocks of {self.threads} threads, expected 0 or more, and a "
                               "multiple of 32 up to 256")
        return self


@dataclass(frozen=True)
class CudaInfo:
    """A GPU, and what an engine made of it."""

    name: str
    sm: int  # 10 major + minor, 87 is Orin
    n_sm: int  # multiprocessors
    driver: int  # version of CUDA that the driver has, 1000 major + 10 minor
    blocks: int = 0
    threads: int = 0
    n_launches: int = 0  # a tick
    io: str = ""
    wait: str = ""
    graph: bool = False
    cooperative: bool = False
    memory_bytes: int = 0  # of the GPU: constants and maps
    note: str = ""  # what is not as it was asked for, and why
    guest: str = ""  # the library whose plan it runs, with its version; empty: our kernels


def _info(raw: Any) -> CudaInfo:
    return CudaInfo(
        ffi.string(raw.name).decode(errors="replace"), raw.sm, raw.n_sm, raw.driver, raw.blocks, raw.threads,
        raw.n_launches, IOS[raw.io], WAITS[raw.wait], bool(raw.graph), bool(raw.cooperative), raw.memory_bytes,
        ffi.string(raw.note).decode(errors="replace"))


def _fault(status: int, what: str) -> RuntimeFault:
    """The error for a status: in the driver's words, where it was asked."""
    why = ffi.string(lib.ek_cuda_why()).decode(errors="replace")
    missing = status_name(status) == "driver" or "NO_DEVICE" in why or "INVALID_DEVICE" in why
    hint = NO_GPU if missing else ""
    if any(name in why for name in ("NO_BINARY_FOR_GPU", "INVALID_PTX", "INVALID_IMAGE", "UNSUPPORTED_PTX_VERSION")):
        hint = "The kernels were compiled for another GPU or a newer driver. Run: edgekin compile --target cuda --force"
    return RuntimeFault(f"{what}: {why or status_text(status)}", hint)


def _library(options: CudaOptions) -> Any:
    return ffi.new("char[]", options.library.encode()) if options.library else ffi.NULL


def probe(options: CudaOptions | None = None) -> CudaInfo:
    """Return the GPU that an engine would run on.

    Raises:
        RuntimeFault: no driver, or no such GPU, in the driver's words.
    """
    options = (options or CudaOptions()).validated()
    raw = ffi.new("ek_cuda_info *")
    status = lib.ek_cuda_probe(_library(options), options.device, raw)
    if status < 0:
        raise _fault(status, "no GPU can be used")
    return _info(raw)


class GpuEngine(Engine):
    """An engine whose network runs on a GPU: how it is opened, and what the driver says where it refuses."""

    @staticmethod
    @contextmanager
    def _opening(options: CudaOptions, precision: int = 0) -> Iterator[tuple[Any, Any]]:
        """Yield options and a status for the C side; they live as long as the block."""
        options, library = options.validated(), _library(options)
        yield ffi.new("ek_cuda_options *", {
            "library": library, "device": options.device, "precision": precision, "io": IOS.index(options.io),
            "wait": WAITS.index(options.wait), "graph": int(options.graph), "cooperative": int(options.cooperative),
            "blocks": options.blocks, "threads": options.threads}), ffi.new("int *")

    _fault = staticmethod(_fault)

    def run(self, q: NDArray[Any]) -> None:
        """Predict one frame, as `Engine.run`; it is launched when its picture or score is asked for."""
        self._said(partial(super().run, q))

    def score(self, packed: NDArray[np.uint8]) -> Score:
        """Run and compare, as `Engine.score`; what the driver refuses is said in its words."""
        return self._said(partial(super().score, packed))

    def logits(self) -> NDArray[np.float32]:
        """Return the last prediction, as `Engine.logits`."""
        return self._said(super().logits)

    def _said(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except RuntimeFault as fault:
            why = ffi.string(lib.ek_cuda_why()).decode(errors="replace")
            raise RuntimeFault(f"{fault.message}: {why}" if why else fault.message, fault.hint) from fault

    @property
    def cuda(self) -> CudaInfo:
        """The GPU, and how it is used."""
        raw = ffi.new("ek_cuda_info *")
        lib.ek_cuda_describe(self.handle, raw)
        return _info(raw)


class CudaEngine(GpuEngine):
    """One network, run by our kernels: the same calls as `Engine`, one launch for a run and its score.

    Args:
        source: a weight file's bytes or its path.
        kernels: the compiled kernels, a cubin for this GPU or PTX: `edgekin.runtime.cuda_kernels`.
        precision: int8 for int8 weight files; fp32 or fp16 for others, fp32 for body models.
        options: see CudaOptions.

    Raises:
        RuntimeFault: no driver, no GPU, kernels of another GPU, or a malformed file.
    """

    def __init__(self, source: bytes | str | Path, kernels: bytes, precision: str,
                 options: CudaOptions | None = None) -> None:
        self._handle: Any = ffi.NULL
        options = options or CudaOptions()
        if precision not in PRECISIONS:
            raise RuntimeFault(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
        blob = source if isinstance(source, bytes) else Path(source).read_bytes()
        module = kernels if kernels[:4] == b"\x7fELF" else kernels.rstrip(b"\0") + b"\0"
        with self._opening(options, PRECISIONS.index(precision)) as (raw, status):
            handle = lib.ek_cuda_open(ffi.from_buffer(blob), len(blob), ffi.from_buffer(module), len(module), raw,
                                      status)
            if handle == ffi.NULL:
                raise _fault(status[0], f"cannot open the {precision} engine on GPU {options.device}")
        self._handle = handle
        self.info: EngineInfo = self._describe()
