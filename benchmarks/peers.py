"""The engines that benchmarks/bench_engines.py compares: each opens one file of a folder and predicts one frame.

Every one runs on one thread, through the fastest interface that its Python package offers (bound buffers instead of
fresh arrays). Peers return logits, which numpy compares with the mask; ours compares inside the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

#: joints (1, J) float32 rad -> logits (V, H, W) float32, valid until the next call.
Predict = Callable[[F32], F32]
#: joints (1, J) float32 rad and the packed mask (V, H, ceil(W / 8)) -> negative log-likelihood, nats.
Frame = Callable[[F32, NDArray[np.uint8]], float]

EKW, ONNX, TORCH, TFLITE = "{}.ekw", "{}.onnx", "model.safetensors", "{}.tflite"


@dataclass(frozen=True)
class Opened:
    """An engine ready to run."""

    predict: Predict
    frame: Frame


@dataclass(frozen=True)
class Engine:
    """One contestant."""

    name: str
    precision: str
    file: str  # in the folder
    open: Callable[[Path, str], Opened]  # folder, precision

    @property
    def key(self) -> str:
        """Name and precision in one word."""
        return f"{self.name}_{self.precision}"


class NumpyScore:
    """Likelihood, squared error and IoU of logits against a packed mask, in float32 with no allocation of pictures."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.a, self.b = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.hit, self.either = np.empty(shape, bool), np.empty(shape, bool)

    def __call__(self, logits: F32, packed: NDArray[np.uint8]) -> tuple[float, float, int, int]:
        """Return (nll nats, squared error, intersection, union); what ek_engine_score yields."""
        observed = np.unpackbits(packed, axis=-1, count=logits.shape[-1]).view(bool)
        a, b = self.a, self.b
        np.abs(logits, out=a)
        np.negative(a, out=a)
        np.exp(a, out=a)  # e = exp(-|l|)
        np.add(a, 1.0, out=b)
        np.divide(1.0, b, out=a)  # sigmoid(|l|)
        np.log(b, out=b)
        np.greater(logits, 0.0, out=self.hit)
        nll = float(b.sum()) + float(np.maximum(logits, 0.0, out=b).sum())
        nll -= float(np.multiply(logits, observed, out=b).sum())
        # |p - y| is sigmoid(-|l|) where the thresholded prediction is right, and sigmoid(|l|) where it is wrong.
        np.equal(self.hit, observed, out=self.either)
        np.subtract(self.either, a, out=a)
        flat = a.ravel()
        squared = float(flat @ flat)
        np.logical_or(self.hit, observed, out=self.either)
        np.logical_and(self.hit, observed, out=self.hit)
        return nll, squared, int(np.count_nonzero(self.hit)), int(np.count_nonzero(self.either))


def _with_numpy_score(predict: Predict, shape: tuple[int, ...]) -> Opened:
    score = NumpyScore(shape)
    return Opened(predict, lambda joints, packed: score(predict(joints), packed)[0])


def open_torch(folder: Path, precision: str) -> Opened:
    """Torch eager."""
    return _torch(folder, compiled=False)


def open_torch_compile(folder: Path, precision: str) -> Opened:
    """torch.compile: inductor, which writes C++ and needs a compiler."""
    return _torch(folder, compiled=True)


def _torch(folder: Path, compiled: bool) -> Opened:
    import torch

    from edgekin.models import load_model

    torch.set_num_threads(1)
    model = load_model(folder / TORCH)
    call: Any = torch.compile(model.module, mode="max-autotune") if compiled else model.module
    shape = (model.shape.n_views, model.shape.height, model.shape.width)

    def predict(joints: F32) -> F32:
        with torch.inference_mode():
            logits: F32 = call(torch.from_numpy(joints)).numpy()[0]
            return logits

    return _with_numpy_score(predict, shape)


def open_onnxruntime(folder: Path, precision: str) -> Opened:
    """ONNX Runtime on the CPU, inputs and outputs bound once."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(folder / ONNX.format(precision)), settings,
                                           providers=["CPUExecutionProvider"])
    into, out = session.get_inputs()[0], session.get_outputs()[0]
    joints_in, logits = np.zeros(into.shape, np.float32), np.zeros(out.shape, np.float32)
    binding = session.io_binding()
    for bind, tensor, array in ((binding.bind_input, into, joints_in), (binding.bind_output, out, logits)):
        bind(tensor.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def predict(joints: F32) -> F32:
        joints_in[:] = joints
        session.run_with_iobinding(binding)
        return logits[0]

    return _with_numpy_score(predict, logits.shape[1:])


def open_openvino(folder: Path, precision: str) -> Opened:
    """OpenVINO on the CPU: latency hint, one stream, one thread, no lower precision than the file's."""
    import openvino

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    compiled = openvino.Core().compile_model(str(folder / ONNX.format(precision)), "CPU", settings)
    request = compiled.create_infer_request()
    joints_in = request.get_input_tensor().data
    logits = request.get_output_tensor().data

    def predict(joints: F32) -> F32:
        joints_in[:] = joints
        request.infer()
        return logits[0]

    return _with_numpy_score(predict, logits.shape[1:])


def open_litert(folder: Path, precision: str) -> Opened:
    """LiteRT with its XNNPACK delegate, on the file that benchmarks/litert.py writes (channels last)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / TFLITE.format(precision)), num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]
    _, height, width, views = sink["shape"]
    logits = np.empty((views, height, width), np.float32)

    def predict(joints: F32) -> F32:
        interpreter.set_tensor(source, joints)
        interpreter.invoke()
        logits[:] = interpreter.get_tensor(sink["index"])[0].transpose(2, 0, 1)
        return logits

    return _with_numpy_score(predict, logits.shape)


def open_ours(folder: Path, precision: str) -> Opened:
    """edgekin's engine through the functions that the loop calls."""
    from edgekin._ek import ffi, lib

    from edgekin.runtime.engine import Engine as Native
    from edgekin.runtime.status import check

    native = Native.open(folder / EKW.format(precision))
    score = ffi.new("ek_score *")

    def frame(joints: F32, packed: NDArray[np.uint8]) -> float:
        check(lib.ek_engine_run(native.handle, ffi.from_buffer("float[]", joints)), "cannot run")
        check(lib.ek_engine_score(native.handle, ffi.from_buffer("uint8_t[]", packed), score), "cannot score")
        return float(score.nll)

    def predict(joints: F32) -> F32:
        native.run(joints[0])
        return native.logits()

    return Opened(predict, frame)


OURS = "edgekin"
ENGINES = (
    Engine("torch", "fp32", TORCH, open_torch),
    Engine("torch_compile", "fp32", TORCH, open_torch_compile),
    Engine("onnxruntime", "fp32", "fp32.onnx", open_onnxruntime),
    Engine("onnxruntime", "int8", "int8.onnx", open_onnxruntime),
    Engine("openvino", "fp32", "fp32.onnx", open_openvino),
    Engine("openvino", "int8", "int8.onnx", open_openvino),
    Engine("litert", "fp32", "fp32.tflite", open_litert),
    Engine("litert", "int8", "int8.tflite", open_litert),
    Engine(OURS, "fp32", "fp32.ekw", open_ours),
    Engine(OURS, "int8", "int8.ekw", open_ours),
)
