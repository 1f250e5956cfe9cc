"""The engines that benchmarks/bench_gpu.py compares: each opens one network and runs one frame on the GPU.

All do the same work: joint angles and a bit-packed mask in host memory to likelihood, squared error and IoU counts, and
the likelihood of every 8x8 block, in host memory. Ours scores inside its launch; torch inside its graph, on the GPU;
engines that return logits score them with numpy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import NumpyScore

from edgekin.models.graph import Graph
from edgekin.runtime.engine import Engine

F32, U8 = NDArray[np.float32], NDArray[np.uint8]
OURS = "edgekin"
TILE = 8


@dataclass(frozen=True)
class Network:
    """One decoder with random weights, and what runs it."""

    name: str
    module: Any  # torch, on the CPU
    graph: Graph
    blobs: dict[str, bytes]  # weight file by the arithmetic: int8, fp32, fp16
    poses: F32  # (N, J) rad
    packed: U8  # (N, V, H, ceil(W / 8))
    onnx: Callable[[str], bytes]  # by precision; made when it is asked for


@dataclass(frozen=True)
class Opened:
    """An engine ready to run."""

    frame: Callable[[int], None]  # the frame of pose i, result in host memory
    logits: Callable[[int], F32]  # (V, H, W) of pose i
    native: Any = None  # our engine, for its C loop
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Peer:
    """One contestant."""

    name: str
    precision: str
    open: Callable[[Network, str], Opened]

    @property
    def key(self) -> str:
        """Name and precision in one word."""
        return f"{self.name}_{self.precision}"


def open_ours(network: Network, precision: str) -> Opened:
    """The kernels of engines/cuda, compiled for the GPU that is here."""
    from edgekin.runtime.cuda import CudaEngine, probe
    from edgekin.runtime.cuda_kernels import cached_cubin

    return _ours(network, CudaEngine(network.blobs[precision], cached_cubin(probe().sm).cubin, precision))


def _ours(network: Network, engine: Engine) -> Opened:
    """An engine of the C launcher."""

    def frame(i: int) -> None:
        engine.run(network.poses[i])
        engine.score(network.packed[i])

    def logits(i: int) -> F32:
        engine.run(network.poses[i])
        return engine.logits()

    return Opened(frame, logits, engine, engine.close)


class TorchFrame:
    """Buffers, and the computation between them: pinned joints and mask -> statistics, pinned; device cpu for tests."""

    def __init__(self, network: Network, precision: str, device: str = "cuda") -> None:
        import torch

        self.pinned = device == "cuda"
        if self.pinned and not torch.cuda.is_available():
            raise RuntimeError("torch sees no GPU")
        self.torch, self.network = torch, network
        self.half = precision == "fp16"
        kind = torch.float16 if self.half else torch.float32
        self.module = copy.deepcopy(network.module).to(device, kind).eval()
        self.q_host = torch.zeros((1, network.poses.shape[1]), pin_memory=self.pinned)
        self.mask_host = torch.zeros(network.packed.shape[1:], dtype=torch.uint8, pin_memory=self.pinned)
        self.q, self.mask = self.q_host.to(device, copy=True), self.mask_host.to(device, copy=True)
        self.bits = torch.arange(7, -1, -1, device=device, dtype=torch.uint8)
        self.run = self.work
        self.stats = self.logits_gpu = self.out = None

    def work(self, q: Any, mask: Any) -> tuple[Any, Any]:
        """(1, J) and the packed mask on the GPU -> the statistics in one vector, and the logits."""
        torch = self.torch
        logits = self.module(q.half() if self.half else q).float()[0]
        observed = (mask.unsqueeze(-1) >> self.bits & 1).flatten(-2)[..., : logits.shape[-1]].float()
        probability, on = torch.sigmoid(logits), (logits > 0).float()
        nll = torch.nn.functional.softplus(logits) - logits * observed
        squared, hit = (probability - observed).square().sum(), (on * observed).sum()
        blocks = torch.nn.functional.avg_pool2d(nll[None], TILE, ceil_mode=True, count_include_pad=False).flatten()
        return torch.cat([torch.stack([nll.sum(), squared, hit, on.sum() + observed.sum() - hit]), blocks]), logits

    def step(self) -> None:
        """Copies in, the work, copies out; what a CUDA graph captures."""
        self.q.copy_(self.q_host, non_blocking=True)
        self.mask.copy_(self.mask_host, non_blocking=True)
        self.stats, self.logits_gpu = self.run(self.q, self.mask)
        if self.out is None:
            self.out = self.torch.empty(self.stats.shape, pin_memory=self.pinned)
        self.out.copy_(self.stats, non_blocking=True)

    def fill(self, i: int) -> None:
        """Pose i and its mask into the pinned buffers."""
        self.q_host.numpy()[0] = self.network.poses[i]
        self.mask_host.numpy()[:] = self.network.packed[i]

    def opened(self, go: Callable[[], None]) -> Opened:
        """Return the engine whose frame is `go`."""
        def frame(i: int) -> None:
            self.fill(i)
            with self.torch.inference_mode():
                go()
            if self.pinned:
                self.torch.cuda.current_stream().synchronize()

        def logits(i: int) -> F32:
            frame(i)
            found: F32 = self.logits_gpu.cpu().numpy()
            return found

        return Opened(frame, logits)


def open_torch_eager(network: Network, precision: str) -> Opened:
    """Torch, operator by operator."""
    whole = TorchFrame(network, precision)
    return whole.opened(whole.step)


def open_torch_graph(network: Network, precision: str) -> Opened:
    """Torch's operators in a CUDA graph with the copies in it."""
    whole = TorchFrame(network, precision)
    torch = whole.torch
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.inference_mode():
        for _ in range(3):
            whole.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        whole.step()
    return whole.opened(graph.replay)


def open_torch_compile(network: Network, precision: str) -> Opened:
    """torch.compile, which fuses, tunes and replays a CUDA graph of its own."""
    whole = TorchFrame(network, precision)
    whole.run = whole.torch.compile(whole.work, mode="max-autotune")
    return whole.opened(whole.step)


def open_onnxruntime(network: Network, precision: str) -> Opened:
    """ONNX Runtime's CUDA provider, input and output in host memory."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError("onnxruntime without its CUDA provider: pip install onnxruntime-gpu")
    session = onnxruntime.InferenceSession(network.onnx(precision), providers=["CUDAExecutionProvider"])
    into, out = session.get_inputs()[0].name, session.get_outputs()[0].name
    return _scored_by_numpy(network, lambda i: session.run([out], {into: network.poses[i : i + 1]})[0][0])


def open_tensorrt(network: Network, precision: str) -> Opened:
    """TensorRT: a plan built here, of the ONNX that --target tensorrt compiles, run as in the loop."""
    from edgekin.compile.tensorrt.maker import Flavours, PlanOptions, plan_maker
    from edgekin.plans.engine import PlanEngine

    maker = plan_maker("tensorrt", PlanOptions())
    strong = network.onnx(f"{precision}-strong")
    made = maker.make(Flavours(network.onnx(precision), strong), precision)
    return _ours(network, PlanEngine(maker.api, made.plan.content))


def _scored_by_numpy(network: Network, logits: Callable[[int], F32]) -> Opened:
    graph = network.graph
    score = NumpyScore((graph.n_views, graph.height, graph.width))

    def frame(i: int) -> None:
        score(logits(i), network.packed[i])

    return Opened(frame, logits)


PEERS = (
    *(Peer(OURS, precision, open_ours) for precision in ("int8", "fp16", "fp32")),
    *(Peer(name, precision, partial(opener)) for name, opener in (
        ("torch-eager", open_torch_eager), ("torch-graph", open_torch_graph), ("torch-compile", open_torch_compile))
      for precision in ("fp32", "fp16")),
    Peer("onnxruntime-cuda", "fp32", open_onnxruntime),
    *(Peer("tensorrt", precision, open_tensorrt) for precision in ("fp16", "int8")),
)
