"""What a trained model becomes on a device: its bytes, and the time of one frame in three engines, taken in turns."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.pipeline import CompileConfig, compile_product
from edgekin.compile.product import Product
from edgekin.errors import EdgekinError, GateMissed
from edgekin.models import needs_depth

if TYPE_CHECKING:
    from edgekin.training.run import Run

F32 = NDArray[np.float32]
#: Draws one picture, somewhere in memory; nothing is scored.
Frame = Callable[[], object]
#: joints (1, J) float32 rad -> the call that draws them, with all done that has to be done once.
Bind = Callable[[F32], Frame]

ENGINES = ("torch", "onnxruntime", "native")
#: Poses that the timed frames go through.
POSES = 64
TURN_S = 0.02  # of one engine; a frame that takes longer has the turn to itself
WARM_FRAMES = 3  # at the start of every turn, not counted
#: A 99th percentile of fewer frames is their largest.
P99_FRAMES = 100


@dataclass(frozen=True)
class Deployed:
    """A model in the engines that can run it."""

    bind: dict[str, Bind]  # by engine
    why_not: dict[str, str]  # engine -> why it cannot
    precision: str | None  # of the native weight file
    weight_bytes: int | None  # of the native weight file


def in_torch(run: Run, why: str) -> Deployed:
    """Return a run in torch alone, and why."""
    return Deployed({"torch": _torch(run)}, {engine: why for engine in ENGINES if engine != "torch"}, None, None)


def deploy(run: Run) -> Deployed:
    """Compile a run for every engine: torch and ONNX Runtime in FP32, native in INT8 or else FP32."""
    bind: dict[str, Bind] = {"torch": _torch(run)}
    why_not: dict[str, str] = {}
    try:
        product, _ = compile_product(run, CompileConfig(precision="fp32", target="onnx"))
        bind["onnxruntime"] = _onnxruntime(product)
    except EdgekinError as error:
        why_not["onnxruntime"] = error.message
    native, reason = _native_product(run)
    if native is None:
        return Deployed(bind, {**why_not, "native": reason}, None, None)
    bind["native"] = _native(native)
    return Deployed(bind, why_not, native.precision, native.weight_bytes)


def _native_product(run: Run) -> tuple[Product | None, str]:
    reason = ""
    for precision in ("int8", "fp32"):
        try:
            return compile_product(run, CompileConfig(precision=precision))[0], ""
        except GateMissed as error:
            reason = error.message
        except EdgekinError as error:
            return None, error.message
    return None, reason


def _torch(run: Run) -> Bind:
    import torch

    module = run.model()
    # A model that always predicts depth does so in every engine; others draw it by another path, which no engine has.
    call: Any = module.both if needs_depth(run.self_model.name) else module

    def draw(joints: torch.Tensor) -> object:
        with torch.inference_mode():
            return call(joints)

    return lambda joints: partial(draw, torch.from_numpy(joints))


def _onnxruntime(product: Product) -> Bind:
    """Inputs and outputs bound once: the fastest that its Python package offers."""
    from edgekin.compile.onnx_export import open_session

    session = open_session(product.files[product.main])
    into = session.get_inputs()[0]
    pictures = {out.name: np.zeros(out.shape, np.float32) for out in session.get_outputs()}

    def bind(joints: F32) -> Frame:
        binding = session.io_binding()
        binding.bind_input(into.name, "cpu", 0, np.float32, joints.shape, joints.ctypes.data)
        for out in session.get_outputs():
            binding.bind_output(out.name, "cpu", 0, np.float32, out.shape, pictures[out.name].ctypes.data)
        return partial(session.run_with_iobinding, binding)

    return bind


def _native(product: Product) -> Bind:
    """The function that the loop calls; the picture stays in the engine, where it is scored."""
    from edgekin._ek import ffi, lib
    from edgekin.runtime.engine import Engine

    engine = Engine.open(product.files[product.main])

    def bind(joints: F32) -> Frame:
        engine.run(joints[0])  # tells what is wrong with the joints, if anything is; what is timed tells nothing
        return partial(lib.ek_engine_run, engine.handle, ffi.from_buffer("float[]", joints))

    return bind


@dataclass(frozen=True)
class Budget:
    """How long is timed."""

    seconds: float  # all engines together
    frames: int  # of each at least


def time_in_turns(bind: dict[str, Bind], joint_pos: NDArray[np.float64], budget: Budget,
                  report: Callable[[float], None] = lambda share: None) -> dict[str, dict[str, Any]]:
    """Time every engine at batch 1, warm, pinned to one core, on one thread, in turns whose order rotates.

    Args:
        bind: by name.
        joint_pos: (N, J) rad.
        budget: when to stop; an engine too slow for its frames within four times the seconds has fewer.
        report: called with the share that is done.

    Returns:
        By name {p50, p99, n}, us; p99 is None where there are fewer than P99_FRAMES frames.
    """
    joints = [np.ascontiguousarray(q[None], np.float32) for q in joint_pos[:POSES]]
    frames = {name: [of(q) for q in joints] for name, of in bind.items()}
    names, times = list(bind), {name: list[int]() for name in bind}
    if not names:
        return {}
    start, rounds = time.monotonic(), 0
    with _pinned():
        while True:
            elapsed = time.monotonic() - start
            least = min(len(found) for found in times.values())
            report(min(elapsed / budget.seconds, 1.0))
            if rounds and elapsed > budget.seconds and (least >= budget.frames or elapsed > 4 * budget.seconds):
                break
            shift = rounds % len(names)
            for name in names[shift:] + names[:shift]:
                _turn(frames[name], times[name])
            rounds += 1
    return {name: _percentiles(found) for name, found in times.items()}


def _turn(frames: list[Frame], times: list[int]) -> None:
    clock, n, offset = time.perf_counter_ns, len(frames), len(times)
    begin = clock()
    for i in range(WARM_FRAMES):
        frames[i % n]()
        if clock() - begin > TURN_S * 1e9:
            break
    stop, i = clock() + int(TURN_S * 1e9), 0
    while not i or clock() < stop:
        frame = frames[(offset + i) % n]
        start = clock()
        frame()
        times.append(clock() - start)
        i += 1


def _percentiles(times: list[int]) -> dict[str, Any]:
    us = np.asarray(times) / 1e3
    p99 = round(float(np.percentile(us, 99)), 2) if len(us) >= P99_FRAMES else None
    return {"p50": round(float(np.percentile(us, 50)), 2), "p99": p99, "n": len(us)}


@contextmanager
def _pinned() -> Iterator[None]:
    """One core, one thread of torch, no garbage collection: for the length of a block."""
    import torch

    cores, threads, collecting = os.sched_getaffinity(0), torch.get_num_threads(), gc.isenabled()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    gc.disable()
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()
