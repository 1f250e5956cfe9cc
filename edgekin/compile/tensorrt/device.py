"""A plan on the GPU that is here, for parity and timing: joints in host memory to pictures in host memory.

The control loop has its own launcher; this one is as simple as can be.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.onnx_export import INPUT, OUTPUT
from edgekin.compile.product import Float, Frame, Logits
from edgekin.compile.tensorrt.api import Api
from edgekin.errors import RuntimeFault
from edgekin.gpu import Driver

_NON_BLOCKING = 1  # cuStreamCreate


class PlanRunner:
    """A deserialized plan with its buffers and stream. Use it as a context manager, or close it.

    Args:
        api: the TensorRT that built the plan.
        plan: checked by read_plan, or fresh from the builder.

    Raises:
        RuntimeFault: there is no GPU, or the plan is not for it.
    """

    def __init__(self, api: Api, plan: bytes) -> None:
        self.api, self._driver, self._buffers = api, Driver(), list[ctypes.c_uint64]()
        self._context_of_device, self._stream = ctypes.c_void_p(), ctypes.c_void_p()
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context_of_device), 0)
        try:
            self._open(plan)
        except BaseException:
            self.close()
            raise

    def _open(self, plan: bytes) -> None:
        self._driver("cuCtxSetCurrent", self._context_of_device)
        self._driver("cuStreamCreate", ctypes.byref(self._stream), _NON_BLOCKING)
        self.api.messages.clear()
        self._runtime = self.api.module.Runtime(self.api.logger)
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RuntimeFault(f"{self.api.target} {self.api.version} refuses the plan: {self.api.errors()}",
                               "Build it on this machine: edgekin compile --force")
        self._context = self.engine.create_execution_context()
        if self._context is None:
            raise RuntimeFault(f"{self.api.target} {self.api.version} has no memory for the plan: {self.api.errors()}",
                               "Free memory of the GPU")
        self.host: dict[str, NDArray[np.float32]] = {}
        for name in (self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)):
            self.host[name] = np.zeros(tuple(self.engine.get_tensor_shape(name)), np.float32)
            address = ctypes.c_uint64()
            self._driver("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(self.host[name].nbytes))
            self._buffers.append(address)
            if not self._context.set_tensor_address(name, address.value):
                raise RuntimeFault(f"{self.api.target} {self.api.version} refuses the buffer of {name}")

    def run(self, joint_pos: Float) -> dict[str, NDArray[np.float32]]:
        """Run one frame.

        Args:
            joint_pos: (J,) rad.

        Returns:
            Name -> (1, V, H, W), in buffers that the next frame overwrites.

        Raises:
            RuntimeFault: TensorRT refuses to enqueue, or the GPU fails.
        """
        self.host[INPUT][0] = joint_pos
        places = {name: (address, ctypes.c_void_p(data.ctypes.data), ctypes.c_size_t(data.nbytes))
                  for (name, data), address in zip(self.host.items(), self._buffers, strict=True)}
        on_device, in_host, size = places.pop(INPUT)
        self._driver("cuMemcpyHtoDAsync_v2", on_device, in_host, size, self._stream)
        # A refused enqueue runs nothing and would leave the last frame's picture in place.
        if not self._context.execute_async_v3(self._stream.value):
            raise RuntimeFault(f"{self.api.target} {self.api.version} refused to enqueue: {self.api.errors()}",
                               "Build the plan on this machine: edgekin compile --force")
        for on_device, in_host, size in places.values():
            self._driver("cuMemcpyDtoHAsync_v2", in_host, on_device, size, self._stream)
        self._driver("cuStreamSynchronize", self._stream)
        return self.host

    def close(self) -> None:
        """Free everything on the device; closing twice is harmless."""
        if self._context_of_device:
            self._context = self.engine = self._runtime = None  # before the memory that they use
            for address in self._buffers:
                self._driver("cuMemFree_v2", address)
            if self._stream:
                self._driver("cuStreamDestroy_v2", self._stream)
            self._driver("cuDevicePrimaryCtxRelease_v2", 0)
            self._buffers, self._context_of_device = [], ctypes.c_void_p()

    def __enter__(self) -> PlanRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def predict(api: Api, plan: bytes, joint_pos: Float, output: str = OUTPUT) -> Logits:
    """Return what a plan gives for (N, J) joint angles in rad: (N, V, H, W) logits, or depth in m."""
    with PlanRunner(api, plan) as runner:
        return np.concatenate([runner.run(q)[output].copy() for q in joint_pos])


def open_frame(api: Api, plan: bytes) -> Frame:
    """Return a function that runs one frame and scores it in numpy; the GPU's memory is freed with it."""
    runner = PlanRunner(api, plan)

    def frame(joints: Float, packed: NDArray[np.uint8]) -> None:
        logits = runner.run(joints)[OUTPUT][0]
        observed = np.unpackbits(packed, axis=-1, count=logits.shape[-1]).astype(bool)
        np.sum(np.logaddexp(0.0, np.where(observed, -logits, logits)))

    weakref.finalize(frame, runner.close)
    return frame


def p50_us(api: Api, plan: bytes, frames: int = 200) -> float:
    """Return the median time of a frame, us: the best of several builds is chosen by it."""
    with PlanRunner(api, plan) as runner:
        pose, times = np.zeros(runner.host[INPUT].shape[1]), []
        for _ in range(frames):
            start = time.perf_counter_ns()
            runner.run(pose)
            times.append(time.perf_counter_ns() - start)
    return float(np.median(times[frames // 4 :])) / 1e3  # the first frames warm the clocks


def inspect(api: Api, plan: bytes, look: Callable[[Api, Any], Any]) -> Any:
    """Return what a function finds in the deserialized engine of a plan."""
    with PlanRunner(api, plan) as runner:
        return look(api, runner.engine)
