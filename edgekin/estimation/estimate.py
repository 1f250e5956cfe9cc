"""The roofline of a device over a bundle's frame. Source: Williams, Waterman, Patterson, Roofline, CACM 52(4), 2009.

At best, computing and moving overlap and reach their roofs; at worst they follow one another and reach the shares of
the roofs that devices.yaml assumes. Launches, barriers and the CPU's part come on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from edgekin import machine
from edgekin.bundle import load_bundle
from edgekin.estimation.devices import Device, Range, load_assumptions, load_device
from edgekin.estimation.workload import Work, Workload, workload_of

SCHEMA = "edgekin.estimate/1"
#: Layers that any engine does by a kernel of its own, and those that move elements, which it may do with a neighbour.
WITH_WEIGHTS, MOVING = ("linear", "conv", "convt"), ("sincos", "pixel_shuffle", "resize", "crop", "scoring")
#: What TensorRT adds at worst: casts at both ends, or the quantization of the input and the dequantization at the end.
REFORMATS = 2


@dataclass(frozen=True)
class Estimate:
    """One engine at one precision."""

    engine: str  # native (one CPU core), cuda, tensorrt
    precision: str
    launches: Range  # kernels of a tick
    barriers: Range  # of the whole grid, inside a kernel
    compute_us: Range
    memory_us: Range
    launch_us: Range  # launches, barriers and the CPU's part
    total_us: Range
    weights_in: str  # where they are between two ticks, at best: L2 | DRAM | cache
    bound: str  # compute | memory | launches: the largest part at worst

    @property
    def holds_hz(self) -> Range:
        """Ticks a second, at best and at worst."""
        return Range(1e6 / self.total_us.best, 1e6 / self.total_us.worst)


@dataclass(frozen=True)
class BundleEstimate:
    """All engines that could run a bundle on a device."""

    bundle: Path
    device: Device
    workload: Workload
    estimates: tuple[Estimate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.estimate/1`; nothing in it is drawn or measured."""
        device = self.device
        precisions = sorted({estimate.precision for estimate in self.estimates})
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": None, "estimate": True,
                "bundle": str(self.bundle),
                "device": {"key": device.key, "name": device.name, "mode": device.mode, **asdict(device.clocks),
                           "memory_gb_s": device.memory_gb_s, "sms": device.sms, "l2_bytes": device.l2_bytes},
                "workload": {"macs": self.workload.macs,
                             "bytes": {precision: self.workload.bytes(precision) for precision in precisions}},
                "estimates": [{**asdict(estimate), "holds_hz": asdict(estimate.holds_hz)}
                              for estimate in self.estimates],
                "sources": device.sources, "assumptions": asdict(load_assumptions())}


def estimate_bundle(path: Path, device: str, mode: str = "", clocks: dict[str, float] | None = None) -> BundleEstimate:
    """Estimate a bundle's frame, joint angles to score, on a device.

    Args:
        path: a native bundle, of a decoder or a body model.
        device: a key of `load_devices()`.
        mode: one of its power modes; empty: the fastest.
        clocks: field of `Clocks` -> MHz instead of the mode's.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: there is no such device or mode.
    """
    target = load_device(device, mode, clocks)
    work = workload_of(load_bundle(path))
    return BundleEstimate(path, target, work, tuple(estimate_workload(work, target)))


def estimate_workload(work: Workload, device: Device) -> list[Estimate]:
    """Return what every engine that has such layers would take, the native one first."""
    on_cpu = [precision for precision in ("fp32", "int8") if precision in device.cpu_macs]
    if work.is_body:  # its arithmetic is float everywhere
        return [*(_native(work, device, precision) for precision in on_cpu[:1]),
                _cuda(work, device, "fp32")]
    return [*(_native(work, device, precision) for precision in on_cpu),
            *(_cuda(work, device, precision) for precision in ("fp16", "int8")),
            *(_tensorrt(work, device, precision) for precision in ("fp32", "fp16", "int8"))]


def _native(work: Workload, device: Device, precision: str) -> Estimate:
    """One core; it skips the products of inputs that are zero, but for those of ellipsoids."""
    assumed = load_assumptions()
    dense = Range(1.0, 1.0) if work.is_body else assumed.cpu_dense_share
    macs_us, moved = device.cpu_gmacs(precision) * 1e3, work.bytes(precision) / 1e3
    share = assumed.cpu_roof_share
    compute = Range(work.least_macs / macs_us * dense.best / share.best,
                    work.macs / macs_us * dense.worst / share.worst)
    memory = Range(moved / device.cpu_read_gb_s.best, moved / device.cpu_read_gb_s.worst)

    def at_best(layer: Work) -> float:
        return max(layer.least_macs / macs_us * dense.best, _bytes(layer, precision) / 1e3 / device.cpu_read_gb_s.best)

    total = Range(sum(map(at_best, work.layers)), compute.worst + memory.worst)
    none = Range(0.0, 0.0)
    return Estimate("native", precision, none, none, compute, memory, none, total, "cache",
                    _bound(compute, memory, none))


def _cuda(work: Workload, device: Device, precision: str) -> Estimate:
    """One cooperative launch; the grid meets behind a layer whose output other blocks read. No tensor cores.

    At best every block does the linear layers at the front for itself, and a 1x1 convolution at the end is part of the
    score (engines/cuda/plan.c).
    """
    weighted, moving = _count(work, WITH_WEIGHTS), _count(work, MOVING)
    kinds = [layer.kind for layer in work.layers[1:]]
    front = len(list(takewhile(lambda pair: pair == ("linear", "linear"), pairwise(kinds))))
    narrow = next((layer.kernel == 1 for layer in reversed(work.layers) if layer.weights), False)
    barriers = (Range(0.0, 1.0) if work.is_body else
                Range(max(0.0, float(weighted - front - narrow)), float(weighted + moving)))
    return _on_gpu("cuda", precision, work, device, Range(1.0, 1.0), barriers)


def _tensorrt(work: Workload, device: Device, precision: str) -> Estimate:
    """One kernel a layer with weights at best, in a CUDA graph; then our comparison with the mask.

    In INT8, a second one behind each may dequantize, add the bias and quantize again, as in plans of TensorRT-RTX.
    """
    weighted, moving = _count(work, WITH_WEIGHTS), _count(work, MOVING)
    most = weighted * (2 if precision == "int8" else 1) + moving + REFORMATS
    launches = Range(float(weighted + 1), float(most))
    return _on_gpu("tensorrt", precision, work, device, launches, Range(0.0, 0.0))


def _on_gpu(engine: str, precision: str, work: Workload, device: Device, launches: Range,
            barriers: Range) -> Estimate:
    assumed = load_assumptions()
    gmacs = device.gpu_gmacs(precision, tensor_cores=engine == "tensorrt")
    fits = 0 < work.bytes(precision) <= device.l2_bytes
    sm_ghz = device.sms * device.clocks.gpu_mhz / 1e3
    maps_gb_s = Range(assumed.l2_bytes_a_clock.best * sm_ghz, assumed.l2_bytes_a_clock.worst * sm_ghz)
    weights_gb_s = maps_gb_s.best if fits else device.memory_gb_s

    def compute(layer: Work) -> float:
        return layer.least_macs / (gmacs * 1e3)

    def memory(layer: Work) -> float:
        return (layer.weight_bytes(precision) / weights_gb_s + layer.map_bytes(precision) / maps_gb_s.best) / 1e3

    share, slowest = assumed.gpu_memory_share.worst, assumed.gpu_compute_share.worst
    maps = work.bytes(precision) - work.weight_bytes(precision)
    slow_us = (work.weight_bytes(precision) / (device.memory_gb_s * share) + maps / maps_gb_s.worst) / 1e3
    compute_us = Range(_sum(compute, work), work.macs / (gmacs * 1e3) / slowest)
    memory_us = Range(_sum(memory, work), slow_us)
    launch_us = Range(*(getattr(device.host_us, at) + getattr(launches, at) * getattr(assumed.kernel_gap_us, at)
                        + getattr(barriers, at) * getattr(assumed.grid_barrier_us, at) for at in ("best", "worst")))
    best = sum(max(compute(layer), memory(layer)) for layer in work.layers) + launch_us.best
    total = Range(best, compute_us.worst + memory_us.worst + launch_us.worst)
    return Estimate(engine, precision, launches, barriers, compute_us, memory_us, launch_us, total,
                    "L2" if fits else "DRAM", _bound(compute_us, memory_us, launch_us))


def _count(work: Workload, kinds: tuple[str, ...]) -> int:
    return sum(layer.kind in kinds for layer in work.layers)


def _sum(part: Callable[[Work], float], work: Workload) -> float:
    return sum(part(layer) for layer in work.layers)


def _bytes(layer: Work, precision: str) -> int:
    return layer.weight_bytes(precision) + layer.map_bytes(precision)


def _bound(compute: Range, memory: Range, launch: Range) -> str:
    parts = {"compute": compute.worst, "memory": memory.worst, "launches": launch.worst}
    return max(parts, key=lambda name: parts[name])
