"""The kernels that `edgekin estimate` counts for TensorRT against those of plans, built here for real."""

import numpy as np
import pytest

from edgekin.compile.native import predict_int8
from edgekin.compile.weights import write_weights
from edgekin.estimation.devices import load_device
from edgekin.estimation.estimate import estimate_workload
from edgekin.estimation.workload import Work, Workload, decoder_layers
from edgekin.models import PictureShape, build_model, to_graph
from edgekin.quantization.calibrate import CalibrationSource, Calibrator
from edgekin.quantization.profile import CalibrationProfile
from edgekin.robot import load_robot
from edgekin.runtime.engine import Engine

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")
pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")

SHAPE = PictureShape(4, 1, 100, 100)


@pytest.mark.parametrize(("name", "size"), [("neurokin", "m"), ("resneurokin-d", "m")])
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_kernels_of_a_plan_are_within_the_estimates_range(name, size, precision):
    from edgekin.compile.tensorrt.layers import from_log
    from edgekin.compile.tensorrt.maker import PlanMaker, PlanOptions
    from edgekin.compile.tensorrt.target import flavours
    from edgekin.plans.api import load

    api, graph = load("tensorrt-rtx"), to_graph(build_model(name, size, SHAPE, robot=load_robot("arm4")))
    ranges = None
    if precision == "int8":
        poses = np.random.default_rng(0).uniform(-2, 2, (8, 4))
        source = CalibrationSource(CalibrationProfile(), 0, "random")
        ranges = Calibrator(graph, poses, source, predict_int8).by_method("minmax")
    PlanMaker(api, None, PlanOptions((86,))).make(flavours(graph, precision, ranges), precision)
    kernels = len(from_log(api.messages))
    with Engine.open(write_weights(graph)) as engine:
        work = Workload((*decoder_layers(engine), Work("scoring", 0, 0, 0, 11_250)), False)
    (estimate,) = [e for e in estimate_workload(work, load_device("orin-nx-16"))
                   if (e.engine, e.precision) == ("tensorrt", precision)]
    assert estimate.launches.best <= kernels + 1 <= estimate.launches.worst  # and the comparison with the mask
