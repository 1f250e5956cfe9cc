"""Where the time of one frame goes: per layer, beside the least time that this core could take for it. Numpy only."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin._ek import ffi, lib
from edgekin.errors import RuntimeFault
from edgekin.runtime.engine import KINDS, Engine
from edgekin.runtime.roofline import BUDGET_S, Roofline, measure_roofline
from edgekin.runtime.status import check

TICKS = 500  # at one pose, before the next
WARMUP_TICKS = 20
#: How far the fastest joint moves from one frame to the next where the arm is followed: 0.5 rad/s at 1 kHz.
STEP_RAD = 5e-4


@dataclass(frozen=True)
class LayerProfile:
    """One layer, or the scoring after the last one."""

    name: str  # kind and number, as in the graph: conv0, conv1 ...
    precision: str  # fp32 | int8
    in_shape: tuple[int, int, int]  # (C, H, W)
    out_shape: tuple[int, int, int]
    n_ops: int  # 0: done by another layer's operations
    macs: int
    weight_bytes: int
    map_bytes: int  # input and output
    p50_us: float
    p99_us: float
    share: float  # of the sum of all layers' p50
    ideal_us: float  # at the roofline
    roofline_share: float | None  # ideal / measured; None where there is nothing to measure


@dataclass(frozen=True)
class Profile:
    """All layers of one engine, and the whole frame without any clock inside."""

    isa: str
    precision: str
    ticks: int
    layers: tuple[LayerProfile, ...]  # the last one is the scoring
    frame_p50_us: float  # joint angles to score, called from Python, no clock between the operations; poses far apart
    following_us: tuple[float, float]  # p50 and p99 of the same on a path between the poses, in steps of STEP_RAD
    roofline: Roofline

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one frame."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bytes(self) -> int:
        """Bytes of weights and feature maps that one frame moves at least."""
        return sum(layer.weight_bytes + layer.map_bytes for layer in self.layers)

    @property
    def ideal_us(self) -> float:
        """The least time of all layers, one after another."""
        return sum(layer.ideal_us for layer in self.layers)

    @property
    def roofline_share(self) -> float:
        """Share of the roofline that the whole frame reaches, scoring and call included."""
        return self.ideal_us / self.frame_p50_us

    def to_json(self) -> dict[str, Any]:
        """Return layers, totals and roofline, JSON-ready."""
        return {"isa": self.isa, "precision": self.precision, "ticks": self.ticks, "frame_p50_us": self.frame_p50_us,
                "following": dict(zip(("p50_us", "p99_us"), self.following_us, strict=True), step_rad=STEP_RAD),
                "macs": self.macs, "bytes": self.bytes, "ideal_us": self.ideal_us,
                "roofline_share": self.roofline_share, "roofline": asdict(self.roofline),
                "layers": [asdict(layer) for layer in self.layers]}


def profile_engine(engine: Engine, joint_pos: NDArray[Any], packed: NDArray[np.uint8], ticks: int = TICKS,
                   budget_s: float = BUDGET_S) -> Profile:
    """Time every layer of an open engine and measure the roofline over it, on the calling thread's CPU.

    Args:
        engine: open.
        joint_pos: (N, J) rad; each pose gets `ticks` frames.
        packed: (N, V, H, ceil(W / 8)) the masks to compare with, bit-packed.
        ticks: frames a pose.
        budget_s: seconds for each of the roofline's three measurements.

    Raises:
        RuntimeFault: poses or masks that do not fit the engine.
    """
    if len(joint_pos) == 0 or len(joint_pos) != len(packed) or ticks < 1:
        raise RuntimeFault(f"cannot profile {len(joint_pos)} poses with {len(packed)} masks for {ticks} ticks")
    raw = raw_layers(engine)
    roofline = measure_roofline(engine.info.isa, engine.info.precision, sum(r.weight_bytes for r in raw), budget_s)
    nanoseconds = np.concatenate([_profile(engine, q, mask, ticks) for q, mask in zip(joint_pos, packed, strict=True)])
    frame_us = _frame_us(engine, joint_pos, packed, len(joint_pos) * ticks)
    path = _path(np.asarray(joint_pos, np.float32), len(joint_pos) * ticks)
    following = _frame_us(engine, path, packed[:1], len(path))
    p50, p99 = (np.percentile(nanoseconds, p, axis=0) / 1e3 for p in (50, 99))
    total = float(p50.sum()) or 1.0
    layers, counts = [], dict.fromkeys(KINDS, 0)
    for i, r in enumerate(raw):
        kind = KINDS[r.kind]
        layers.append(_layer(f"{kind}{counts[kind]}", engine.info.precision, r, (p50[i], p99[i], total), roofline))
        counts[kind] += 1
    return Profile(engine.info.isa, engine.info.precision, len(nanoseconds),
                   (*layers, _scoring(engine, (p50[-1], p99[-1], total), roofline)), frame_us[0], following, roofline)


def raw_layers(engine: Engine) -> list[Any]:
    """Return the `ek_layer_info` of every layer of an open engine."""
    found = [ffi.new("ek_layer_info *") for _ in range(engine.info.n_layers)]
    for index, raw in enumerate(found):
        check(lib.ek_engine_layer(engine.handle, index, raw), f"cannot describe layer {index}")
    return found


def tick_us(engine: Engine, q: NDArray[Any], mask: NDArray[np.uint8], ticks: int) -> NDArray[np.float64]:
    """Return the times (ticks,) us of whole frames called from C: joint angles (J,) rad to the score of the mask.

    Raises:
        RuntimeFault: the engine refuses, before or after.
    """
    times: NDArray[np.float64] = _profile(engine, q, mask, ticks).sum(axis=1) / 1e3
    engine.score(mask)
    return times


def _profile(engine: Engine, q: NDArray[Any], mask: NDArray[np.uint8], ticks: int) -> NDArray[np.int32]:
    """Return (ticks, layers + 1) ns of each layer and of the scoring."""
    for _ in range(WARMUP_TICKS):
        engine.run(q)  # checks the shape of q
        engine.score(mask)  # and that of the mask
    joints, masks = np.ascontiguousarray(q, np.float32), np.ascontiguousarray(mask, np.uint8)
    out = np.empty((ticks, engine.info.n_layers + 1), np.int32)
    status = lib.ek_engine_profile(engine.handle, ffi.cast("const float *", ffi.from_buffer(joints)),
                                   ffi.cast("const uint8_t *", ffi.from_buffer(masks)), ticks,
                                   ffi.cast("int32_t *", ffi.from_buffer(out)))
    check(status, f"cannot profile the engine at {joints.tolist()} rad")
    return out


def _path(poses: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Return (frames, J) rad in steps of STEP_RAD on the way from pose to pose, and from the last to the first."""
    corners = np.concatenate([poses, poses[:1]])
    at = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(corners, axis=0)).max(axis=1))])
    where = np.arange(frames) * STEP_RAD % max(float(at[-1]), STEP_RAD)
    return np.stack([np.interp(where, at, angles) for angles in corners.T], axis=1).astype(np.float32)


def _frame_us(engine: Engine, joint_pos: NDArray[Any], packed: NDArray[np.uint8], frames: int) -> tuple[float, float]:
    """Return p50 and p99 of so many frames, which go through the poses (N, J) and the masks in turn."""
    joints, times = np.ascontiguousarray(joint_pos, np.float32), []
    for i in range(frames):
        start = time.perf_counter_ns()
        engine.run(joints[i % len(joints)])
        engine.score(packed[i % len(packed)])
        times.append(time.perf_counter_ns() - start)
    return float(np.percentile(times, 50)) / 1e3, float(np.percentile(times, 99)) / 1e3


def _layer(name: str, precision: str, raw: Any, us: tuple[float, float, float], roofline: Roofline) -> LayerProfile:
    p50, p99, total = us
    ideal = roofline.ideal_ns(raw.macs, raw.weight_bytes, raw.map_bytes) / 1e3 if raw.n_ops else 0.0
    return LayerProfile(name, precision, (raw.in_c, raw.in_h, raw.in_w), (raw.out_c, raw.out_h, raw.out_w), raw.n_ops,
                        raw.macs, raw.weight_bytes, raw.map_bytes, float(p50), float(p99), float(p50) / total, ideal,
                        ideal / float(p50) if raw.n_ops and p50 > 0 else None)


def _scoring(engine: Engine, us: tuple[float, float, float], roofline: Roofline) -> LayerProfile:
    """The comparison with the mask: it reads the logits and the bits."""
    p50, p99, total = us
    info = engine.info
    pixels = info.n_views * info.height * info.width
    bytes_ = pixels * (1 if info.precision == "int8" else 4) + info.n_views * info.height * ((info.width + 7) // 8)
    ideal = roofline.ideal_ns(0, 0, bytes_) / 1e3
    shape = (info.n_views, info.height, info.width)
    return LayerProfile("scoring", info.precision, shape, (1, 1, 1), 1, 0, 0, bytes_, float(p50), float(p99),
                        float(p50) / total, ideal, ideal / float(p50) if p50 > 0 else None)
