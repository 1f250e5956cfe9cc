"""A TensorRT of a version that is not here, with the names that it has; its plans are run by ONNX Runtime.

What it enqueues is a function of the host, launched on the stream by the driver that $EDGEKIN_LIBCUDA names: it is
captured and replayed as kernels are. What it cannot show is what TensorRT builds. It shows that each version's names
are enough, that refusals are dealt with, and that a plan's way from joints to picture is right.
"""

import ctypes
import enum
import json
import os
from types import SimpleNamespace

import numpy as np

from edgekin.compile.onnx_export import open_session
from edgekin.compile.tensorrt.layers import asked

#: version -> names of NetworkDefinitionCreationFlag, names of BuilderFlag.
NAMES = {
    "8.6.2": (["EXPLICIT_BATCH"], ["FP16", "INT8", "TF32"]),
    "10.3.0": (["EXPLICIT_BATCH", "STRONGLY_TYPED"], ["FP16", "INT8", "TF32"]),
    "11.4.0": (["STRONGLY_TYPED"], ["TF32"]),
}


class Severity(enum.Enum):
    ERROR = 1


class Logger:
    def __init__(self):
        pass


class Cache:
    def __init__(self, blob):
        self.blob = blob

    def serialize(self):
        return self.blob


class Config:
    def __init__(self):
        self.flags, self.timing_cache = {"TF32"}, None

    def set_flag(self, flag):
        self.flags.add(flag.name)

    def clear_flag(self, flag):
        self.flags.discard(flag.name)

    def create_timing_cache(self, blob):
        return Cache(bytes(blob))

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if cache.blob and not cache.blob.startswith(b"timed "):
            return False
        self.timing_cache = cache
        return True

    def get_timing_cache(self):
        return Cache(b"timed " + self.timing_cache.blob)


class Engine:
    """Runs the plan's ONNX; device memory is this process's."""

    def __init__(self, about, model, behaviour):
        self.about, self.model, self.behaviour = about, model, behaviour
        self.session = open_session(self.model)
        self.tensors = [(t.name, tuple(t.shape)) for t in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index):
        return self.tensors[index][0]

    def get_tensor_shape(self, name):
        return dict(self.tensors)[name]

    def create_execution_context(self):
        return Context(self)

    def create_engine_inspector(self):
        return SimpleNamespace(get_engine_information=lambda layout: json.dumps({"Layers": [
            {"Name": f"{node} + relu", "LayerType": "CaskConvolution", "Metadata": f"[ONNX Layer: {node}]",
             "Inputs": [{"Name": "x", "Dimensions": [1, 2], "Format/Datatype": "Row major linear FP32 format"}],
             "Weights": {"Type": {"int8": "Int8", "fp16": "Half", "fp32": "Float"}[kind], "Count": count}}
            for _, node, kind, count in asked(self.model, self.about["weak_body"])], "Bindings": []}))


class Context:
    def __init__(self, engine):
        self.engine, self.addresses = engine, {}
        self.driver = ctypes.CDLL(os.environ["EDGEKIN_LIBCUDA"])
        self.work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.run)

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def view(self, name, shape):
        numbers = (ctypes.c_float * int(np.prod(shape))).from_address(self.addresses[name])
        return np.frombuffer(numbers, np.float32).reshape(shape)

    def execute_async_v3(self, stream):
        if not (isinstance(stream, int) and stream and self.engine.behaviour.accepts()):
            return False
        return self.engine.behaviour.enqueues(self.driver, stream, self.work)

    def run(self, _):
        (first, shape), *outputs = self.engine.tensors
        results = self.engine.session.run([name for name, _ in outputs], {first: self.view(first, shape).copy()})
        for (name, size), result in zip(outputs, results, strict=True):
            np.copyto(self.view(name, size), self.engine.behaviour.spoils(result))


def on_stream(driver, stream, work):
    """Launch the work on the stream, as a network is."""
    return driver.cuLaunchHostFunc(ctypes.c_void_p(stream), work, None) == 0


def at_once(driver, stream, work):
    """Run the work here and now: no capture sees it."""
    work(None)
    return True


def emulate(version, refuses=lambda typing, flags, model: "", accepts=lambda: True, spoils=lambda picture: picture,
            enqueues=on_stream):
    """Return a module.

    Args:
        version: a key of NAMES.
        refuses: (strong or weak, builder flags, ONNX) -> the error with which a build fails; empty where it does not.
        accepts: whether an enqueue is accepted.
        spoils: what becomes of a picture.
        enqueues: what becomes of an enqueue that is accepted.
    """
    behaviour = SimpleNamespace(accepts=accepts, spoils=spoils, enqueues=enqueues)
    creation, flags = (enum.IntEnum("Flag", {name: i for i, name in enumerate(names)}) for names in NAMES[version])

    class Builder:
        def __init__(self, logger):
            self.logger = logger

        def create_network(self, bits):
            strong = "STRONGLY_TYPED" in creation.__members__ and bits >> creation.STRONGLY_TYPED & 1
            return SimpleNamespace(model=b"", typing="strong" if strong else "weak")

        def create_builder_config(self):
            return Config()

        def build_serialized_network(self, network, config):
            why = refuses(network.typing, config.flags, network.model)
            if why:
                self.logger.log(Severity.ERROR, why)
                return None
            about = {"flags": sorted(config.flags), "typing": network.typing,
                     "weak_body": "fp16" if "FP16" in config.flags else ""}
            return memoryview(json.dumps(about).encode() + b"\0" + network.model)

    class OnnxParser:
        num_errors = 0

        def __init__(self, network, logger):
            self.network = network

        def parse(self, model):
            self.network.model = model
            return True

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            about, _, model = plan.partition(b"\0")
            if not model:
                self.logger.log(Severity.ERROR, "Serialization assertion failed")
                return None
            return Engine(json.loads(about), model, behaviour)

    return SimpleNamespace(
        __version__=version, ILogger=Logger, Builder=Builder, OnnxParser=OnnxParser, Runtime=Runtime,
        BuilderFlag=flags, NetworkDefinitionCreationFlag=creation, IBuilderConfig=Config,
        ProfilingVerbosity=SimpleNamespace(DETAILED=2), LayerInformationFormat=SimpleNamespace(JSON=1))
