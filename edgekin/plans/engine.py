"""A plan as an engine: TensorRT's execution context is the guest of the C launcher, which captures what it enqueues.

The launcher owns the GPU's context, the stream and the buffers, and replays the graph without Python. Where there is no
graph it calls back for every tick, and its note says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from edgekin._ek import ffi, lib
from edgekin.bundle import DEPTH, INPUT, OUTPUT, Bundle
from edgekin.errors import EdgekinError, RuntimeFault
from edgekin.gpu import gpu
from edgekin.plans.api import Api, load
from edgekin.plans.files import here, open_plan
from edgekin.runtime.cuda import CudaInfo, CudaOptions, GpuEngine

T = TypeVar("T")
_REBUILD = "Build the plan on this machine: edgekin compile --force"


class PlanContext:
    """What TensorRT has of a plan: runtime, engine and execution context; they live as long as the launcher's graph.

    Args:
        api: the TensorRT that built the plan.
        plan: its bytes, checked by read_plan or fresh from the builder.
    """

    def __init__(self, api: Api, plan: bytes) -> None:
        self.api, self._plan = api, plan
        self.engine: Any = None
        self._runtime: Any = None
        self._context: Any = None
        self._bound = False
        self.failure: Exception | None = None  # of the last call that failed

    def load(self, shape: Any) -> None:
        """Deserialize the plan and say what it takes and gives: fills an `ek_cuda_shape`.

        Raises:
            RuntimeFault: TensorRT refuses the plan, or it is none of a self-model.
        """
        self.api.messages.clear()
        self._runtime = self.api.module.Runtime(self.api.logger)
        self.engine = self._runtime.deserialize_cuda_engine(self._plan)
        if self.engine is None:
            raise self._refused("the plan")
        self._context = self.engine.create_execution_context()
        if self._context is None:
            raise RuntimeFault(f"{self._name} has no memory for the plan: {self.api.errors()}",
                               "Free memory of the GPU")
        shapes = {name: tuple(self.engine.get_tensor_shape(name)) for name in self._tensors()}
        maps = [size for name, size in shapes.items() if name != INPUT]
        pictures = set(shapes) in ({INPUT, OUTPUT}, {INPUT, OUTPUT, DEPTH}) and len(set(maps)) == 1
        if not (pictures and len(shapes[INPUT]) == 2 and len(maps[0]) == 4 and shapes[INPUT][0] == maps[0][0] == 1):
            raise RuntimeFault(f"the plan's tensors are {shapes}, expected {INPUT} (1, J) and {OUTPUT} (1, V, H, W)",
                               _REBUILD)
        shape.n_joints = shapes[INPUT][1]
        _, shape.n_views, shape.height, shape.width = maps[0]
        shape.n_depth = shape.n_views if DEPTH in shapes else 0

    def enqueue(self, frame: Any) -> None:
        """Put a frame, an `ek_cuda_frame`, on its stream; raises RuntimeFault where TensorRT refuses."""
        self.api.messages.clear()
        if not self._bound:
            addresses = {INPUT: frame.joints, OUTPUT: frame.logits, DEPTH: frame.depth}
            for name in self._tensors():
                if not self._context.set_tensor_address(name, int(addresses[name])):
                    raise self._refused(f"the buffer of {name}")
            self._bound = True
        if not self._context.execute_async_v3(int(ffi.cast("uintptr_t", frame.stream))):
            raise self._refused("to enqueue")

    def release(self) -> None:
        """Let go of everything of TensorRT's, the innermost first."""
        self._context = None
        self.engine = None
        self._runtime = None

    @property
    def _name(self) -> str:
        return f"{self.api.target} {self.api.version}"

    def _tensors(self) -> list[str]:
        return [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]

    def _refused(self, what: str) -> RuntimeFault:
        return RuntimeFault(f"{self._name} refused {what}: {self.api.errors() or 'it logged no error'}", _REBUILD)


def _attempt(handle: Any, call: Callable[[PlanContext], None], why: Any, why_bytes: int) -> int:
    """Call for the launcher: 0, or a line of text and -1. What TensorRT raises must not pass through C."""
    context: PlanContext = ffi.from_handle(handle)
    try:
        call(context)
        return 0
    except Exception as error:
        context.failure = error
        text = error.message if isinstance(error, EdgekinError) else f"{type(error).__name__}: {error}"
        line = " ".join(text.split()).encode()[: why_bytes - 1]
        ffi.memmove(why, line + b"\0", len(line) + 1)
        return -1


def _load(handle: Any, shape: Any, why: Any, why_bytes: int) -> int:
    return _attempt(handle, lambda context: context.load(shape), why, why_bytes)


def _enqueue(handle: Any, frame: Any, why: Any, why_bytes: int) -> int:
    return _attempt(handle, lambda context: context.enqueue(frame), why, why_bytes)


def _release(handle: Any) -> None:
    ffi.from_handle(handle).release()


ffi.def_extern(name="ek_plan_load", error=-1)(_load)
ffi.def_extern(name="ek_plan_enqueue", error=-1)(_enqueue)
ffi.def_extern(name="ek_plan_release")(_release)


class PlanEngine(GpuEngine):
    """A plan, open on the GPU that is here: the calls of `Engine`; a score is made on the CPU from the plan's picture.

    Args:
        api: the TensorRT that built the plan.
        plan: checked by read_plan, or fresh from the builder.
        options: see CudaOptions; launches, blocks and threads are TensorRT's.

    Raises:
        RuntimeFault: no driver, no GPU, or TensorRT refuses the plan or to enqueue it.
    """

    def __init__(self, api: Api, plan: bytes, options: CudaOptions | None = None) -> None:
        self._handle: Any = ffi.NULL
        self._named = f"{api.target} {api.version}"
        self.context = PlanContext(api, plan)
        self._self = ffi.new_handle(self.context)
        guest = ffi.new("ek_cuda_guest *", {"self": self._self, "load": lib.ek_plan_load,
                                            "enqueue": lib.ek_plan_enqueue, "release": lib.ek_plan_release})
        with self._opening(options or CudaOptions()) as (raw, status):
            handle = lib.ek_cuda_open_guest(guest, raw, status)
            if handle == ffi.NULL:
                if isinstance(self.context.failure, EdgekinError):
                    raise self.context.failure
                raise self._fault(status[0], f"cannot open the plan of {self._named}")
        self._handle = handle
        self.info = replace(self._describe(), isa=api.target, weight_bytes=len(plan))

    def _said(self, call: Callable[[], T]) -> T:
        """Call; what TensorRT refused meanwhile is said in its own words, with the remedy."""
        self.context.failure = None
        try:
            return super()._said(call)
        except RuntimeFault as fault:
            if isinstance(self.context.failure, EdgekinError):
                raise self.context.failure from fault
            raise

    @property
    def cuda(self) -> CudaInfo:
        """The GPU, and how it is used."""
        return replace(super().cuda, guest=self._named)


def open_plan_engine(bundle: Bundle, options: CudaOptions | None = None) -> PlanEngine:
    """Open the plan of a bundle for the GPU that is here and make it give the known answers.

    Args:
        bundle: of target tensorrt or tensorrt-rtx.
        options: how the GPU is used.

    Raises:
        ConfigError: TensorRT is not installed.
        RuntimeFault: there is no GPU, or TensorRT refuses.
        BundleError: no plan of the bundle is for this machine, or an answer differs from the recorded one.
    """
    api = load(bundle.target)
    plan, _ = open_plan(bundle, here(api.target, api.version, gpu()))
    return bundle.checked(PlanEngine(api, plan, options))
