"""The Python face of the CPU engine: open a weight file, run it, compare its prediction with a mask. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.status import check, status_name

OneEngine = TypeVar("OneEngine", bound="Engine")

ISAS = ("auto", "scalar", "avx2", "avx512", "neon", "cuda")  # in the order of EK_ISA_*
PRECISIONS = ("fp32", "int8", "fp16")  # in the order of EK_PRECISION_*; fp16: of arithmetic on a GPU
FILE_PRECISIONS = PRECISIONS[:2]  # of weight files
CPU_ISAS = ISAS[:-1]
#: Of layers, in the order of the weight file's codes (docs/formats.md).
KINDS = ("sincos", "linear", "reshape", "conv", "convt", "pixel_shuffle", "resize", "crop", "joints", "ellipsoids")


@dataclass(frozen=True)
class EngineInfo:
    """What an open engine is made of."""

    n_joints: int
    n_views: int
    height: int  # px
    width: int  # px
    precision: str  # fp32 | int8
    isa: str  # the instruction set chosen, never auto
    n_layers: int
    n_depth: int  # depth pictures: n_views or 0
    parameters: int
    macs: int  # multiply-accumulates of one frame
    weight_bytes: int  # of the weight file
    arena_bytes: int  # packed weights and feature maps in memory


#: Pixels of a block of `Engine.blocks`, per axis.
BLOCK = int(lib.EK_BLOCK)
BLOCK_DTYPE = np.dtype({"names": ["nll", "squared_err", "entropy", "predicted", "observed", "intersection"],
                        "formats": ["<f8"] * 3 + ["<i4"] * 3, "itemsize": ffi.sizeof("ek_block_score")})


@dataclass(frozen=True)
class Score:
    """How well the prediction explains an observed mask; sums over all views."""

    nll: float  # nats
    squared_err: float  # sum of (probability - observed)^2
    entropy: float  # of the prediction, nats
    n_pixels: int
    intersection: int  # pixels predicted and observed
    union: int  # pixels predicted or observed


def supported_isas() -> list[str]:
    """Return the instruction sets that this machine and build can run, without auto."""
    return [name for code, name in enumerate(ISAS) if code and lib.ek_isa_supported(code)]


class Engine:
    """One network, open in the C library.

    Args:
        source: a weight file's bytes or its path.
        isa: auto, or one of `supported_isas()`.

    Raises:
        RuntimeFault: the file is malformed, changed or of another version, or the machine lacks the instruction set.
    """

    def __init__(self, source: bytes | str | Path, isa: str = "auto") -> None:
        self._handle: Any = ffi.NULL
        if isa not in CPU_ISAS:
            raise RuntimeFault(f"unknown instruction set {isa!r}, expected one of {', '.join(CPU_ISAS)}")
        if isinstance(source, bytes):
            blob, name = source, "weights"
        else:
            name = str(source)
            try:
                blob = Path(source).read_bytes()
            except OSError as error:
                raise RuntimeFault(f"cannot read {name}: {error.strerror}", "Run: edgekin compile") from error
        status = ffi.new("int *")
        handle = lib.ek_engine_open(ffi.from_buffer(blob), len(blob), ISAS.index(isa), status)
        if handle == ffi.NULL:
            missing = status_name(status[0]) == "unsupported"
            hint = f"This machine runs {', '.join(supported_isas())}" if missing else "Run: edgekin compile"
            check(status[0], f"cannot open {name} for {isa}", hint)
            raise RuntimeFault(f"cannot open {name}: no engine and no status")
        self._handle = handle
        self.info = self._describe()

    @classmethod
    def open(cls, source: bytes | str | Path, isa: str = "auto") -> Engine:
        """Return an open engine; the same as the constructor."""
        return cls(source, isa)

    def _describe(self) -> EngineInfo:
        i = ffi.new("ek_engine_info *")
        check(lib.ek_engine_describe(self._handle, i), "cannot describe the engine")
        return EngineInfo(i.n_joints, i.n_views, i.height, i.width, PRECISIONS[i.precision], ISAS[i.isa], i.n_layers,
                          i.n_depth, i.parameters, i.macs, i.weight_bytes, i.arena_bytes)

    @property
    def handle(self) -> Any:
        """The C object, for the loop, which borrows it."""
        if self._handle == ffi.NULL:
            raise RuntimeFault("the engine is closed", "Open it again with Engine.open")
        return self._handle

    @property
    def shape(self) -> tuple[int, int, int]:
        """(V, H, W) of a prediction."""
        return self.info.n_views, self.info.height, self.info.width

    def run(self, q: NDArray[Any]) -> None:
        """Predict one frame; the prediction stays inside until the next run.

        Args:
            q: (J,) rad.

        Raises:
            RuntimeFault: a wrong number of joints, a NaN, or an angle beyond 10^4 rad.
        """
        joints = np.ascontiguousarray(q, dtype=np.float32)
        if joints.shape != (self.info.n_joints,):
            raise RuntimeFault(f"joint angles have the shape {joints.shape}, expected ({self.info.n_joints},)")
        pointer = ffi.cast("const float *", ffi.from_buffer(joints))
        status = lib.ek_engine_run(self.handle, pointer)
        if status:  # the text takes as long as a small network
            check(status, f"cannot run the engine on {joints.tolist()} rad")

    def logits(self) -> NDArray[np.float32]:
        """Return the last prediction (V, H, W) float32, natural-log odds."""
        out = np.empty(self.shape, dtype=np.float32)
        check(lib.ek_engine_logits(self.handle, ffi.cast("float *", ffi.from_buffer(out))), "cannot read the logits")
        return out

    def depth(self) -> NDArray[np.float32]:
        """Return the last prediction's depth (V, H, W) float32 m, where the robot is.

        Raises:
            RuntimeFault: the network has no depth head.
        """
        out = np.empty(self.shape, dtype=np.float32)
        status = lib.ek_engine_depth(self.handle, ffi.cast("float *", ffi.from_buffer(out)))
        check(status, "cannot read depth", "Train with --model resneurokin-d")
        return out

    def hide(self, link: int) -> None:
        """Leave a link and all beyond out of what is predicted next; -1: none.

        Raises:
            RuntimeFault: no body model, or no such link.
        """
        body = lib.ek_engine_body(self.handle)
        if body == ffi.NULL:
            raise RuntimeFault("the engine runs a decoder, which has no links", "Open the bundle's body model")
        check(lib.ek_body_hide(body, link), f"cannot hide link {link}")

    def logits_int8(self) -> tuple[NDArray[np.int8], float]:
        """Return the last prediction (V, H, W) int8 and its scale; INT8 engines only."""
        out, scale = np.empty(self.shape, dtype=np.int8), ffi.new("float *")
        pointer = ffi.cast("int8_t *", ffi.from_buffer(out))
        status = lib.ek_engine_logits_int8(self.handle, pointer, scale)
        check(status, f"cannot read integer logits of an {self.info.precision} engine")
        return out, float(scale[0])

    def score(self, packed: NDArray[np.uint8]) -> Score:
        """Compare the last prediction with an observation.

        Args:
            packed: (V, H, ceil(W / 8)) uint8, bit-packed along x as numpy.packbits does.
        """
        masks = np.ascontiguousarray(packed, dtype=np.uint8)
        expected = (self.info.n_views, self.info.height, (self.info.width + 7) // 8)
        if masks.shape != expected:
            raise RuntimeFault(f"the packed mask has the shape {masks.shape}, expected {expected}")
        s = ffi.new("ek_score *")
        pointer = ffi.cast("const uint8_t *", ffi.from_buffer(masks))
        check(lib.ek_engine_score(self.handle, pointer, s), "cannot score the mask")
        return Score(s.nll, s.squared_err, s.entropy, s.n_pixels, s.intersection, s.union_)

    def blocks(self) -> NDArray[Any]:
        """Return where the last score came from.

        Returns:
            (V, ceil(H / BLOCK), ceil(W / BLOCK)) structured: nll, entropy (nats), squared_err, predicted, observed and
            intersection (pixels), each summed over a block of BLOCK x BLOCK pixels.
        """
        v, h, w = self.shape
        out = np.zeros((v, -(-h // BLOCK), -(-w // BLOCK)), dtype=BLOCK_DTYPE)
        pointer = ffi.cast("ek_block_score *", ffi.from_buffer(out))
        check(lib.ek_engine_blocks(self.handle, pointer), "cannot read the blocks of the score")
        return out

    def predict(self, q: NDArray[Any]) -> NDArray[np.float32]:
        """Return the logits (N, V, H, W) float32 for joint angles q (N, J) rad, frame by frame through the C engine."""
        out = np.empty((len(q), *self.shape), dtype=np.float32)
        for frame, joints in zip(out, q, strict=True):
            self.run(joints)
            frame[:] = self.logits()
        return out

    def predict_depth(self, q: NDArray[Any]) -> NDArray[np.float32]:
        """Return the depth (N, V, H, W) float32 m for joint angles q (N, J) rad; raises RuntimeFault without a head."""
        out = np.empty((len(q), *self.shape), dtype=np.float32)
        for frame, joints in zip(out, q, strict=True):
            self.run(joints)
            frame[:] = self.depth()
        return out

    def close(self) -> None:
        """Free the engine; closing twice is harmless."""
        handle, self._handle = self._handle, ffi.NULL
        if handle != ffi.NULL:
            lib.ek_engine_close(handle)

    def __enter__(self: OneEngine) -> OneEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()
