"""Real plans of TensorRT-RTX, whose builder needs no GPU: built, inspected, and as small as they should be."""

import numpy as np
import pytest

from edgekin.compile.tensorrt.backoff import back_off, int8_layers, without
from edgekin.compile.tensorrt.builder import BuildFailed, BuildOptions, build
from edgekin.compile.tensorrt.layers import from_log, layers
from edgekin.compile.tensorrt.maker import Flavours, PlanMaker, PlanOptions
from edgekin.compile.tensorrt.placement import violations
from edgekin.compile.tensorrt.target import flavours
from edgekin.errors import ConfigError
from edgekin.models import build_model, to_graph
from edgekin.quantization.profile import Calibration, LayerRange
from edgekin.robot import load_robot

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
pytest.importorskip("onnx", reason="needs onnx: pip install 'edgekin[train]'")
bindings = pytest.importorskip("tensorrt_rtx_bindings", reason="needs TensorRT-RTX: pip install 'edgekin[rtx]'")

NETWORKS = [("neurokin", "m"), ("neurokin", "published"), ("resneurokin-d", "m")]


@pytest.fixture(scope="module")
def api():
    from edgekin.plans.api import load

    return load("tensorrt-rtx")


@pytest.fixture(scope="module", params=NETWORKS, ids="-".join)
def network(request):
    """A network with fresh weights, and a scale for each of its layers as a calibration gives them."""
    from edgekin.compile.native import predict_int8
    from edgekin.models import PictureShape
    from edgekin.quantization.calibrate import CalibrationSource, Calibrator
    from edgekin.quantization.profile import CalibrationProfile

    name, size = request.param
    graph = to_graph(build_model(name, size, PictureShape(4, 1, 100, 100), robot=load_robot("arm4")))
    poses = np.random.default_rng(0).uniform(-2, 2, (32, 4))
    source = CalibrationSource(CalibrationProfile(), 0, "random")
    return graph, Calibrator(graph, poses, source, predict_int8).by_method("minmax")


def maker(api, **options):
    return PlanMaker(api, None, PlanOptions((86, 120), **options))


def test_every_network_becomes_plans_and_int8_halves_them(api, network):
    graph, calibration = network
    plans = {precision: maker(api).make(flavours(graph, precision, ranges), precision)
             for precision, ranges in (("fp32", None), ("fp16", None), ("int8", calibration))}
    sizes = {precision: len(made.plan.content) for precision, made in plans.items()}
    assert sizes["int8"] <= 0.5 * sizes["fp32"]
    assert sizes["int8"] < sizes["fp16"] < sizes["fp32"]
    for precision, made in plans.items():
        assert made.plan.layers
        assert {layer.got for layer in made.plan.layers} <= {precision, "fp16"}
        # Every layer is computed in what it was asked for; in INT8, that is what holds most of the weights.
        assert all(layer.kept for layer in made.plan.layers), made.plan.layers
        asked = sum(layer.weights for layer in made.plan.layers if layer.asked == precision)
        assert asked > 0.9 * sum(layer.weights for layer in made.plan.layers)


def test_the_qdq_graphs_of_every_network_obey_and_agree_with_each_other(network):
    from edgekin.compile.onnx_export import run_onnx

    graph, calibration = network
    both = flavours(graph, "int8", calibration)
    assert violations(both.weak) == violations(both.strong) == []
    assert int8_layers(both.weak) == int8_layers(both.strong) != {}
    q = np.random.default_rng(1).uniform(-1, 1, (4, 4))
    # An activation next to a rounding threshold may fall to either side in FP16: a step of int8 here and there.
    assert np.abs(run_onnx(both.weak, q) - run_onnx(both.strong, q)).mean() < 0.02


def test_transposed_convolutions_get_no_int8_which_is_told(api):
    """Why flavours() rewrites them."""
    from edgekin.compile.onnx_export import OnnxOptions, export_onnx
    from tests.unit.conftest import transposed_graph

    scales = dict.fromkeys(("joints0", "linear0", "convt0", "convt1", "conv0"), 0.05)
    model = export_onnx(transposed_graph(), OnnxOptions(scales=scales, body="fp16", opset=19))
    made = maker(api).make(Flavours(model, model), "int8")
    assert {layer.name: (layer.asked, layer.got) for layer in made.plan.layers}["convt0"] == ("int8", "fp16")
    ranges = {name: LayerRange("", "", 1.0, 1.0, scale) for name, scale in scales.items()}
    calibration = Calibration(ranges, "minmax", 100.0, "train", 32, "", 0, "", "")
    rewritten = maker(api).make(flavours(transposed_graph(), "int8", calibration), "int8")
    assert {layer.name: layer.got for layer in rewritten.plan.layers}["convt0"] == "int8"


def test_layers_that_will_not_build_go_back_to_fp16_one_by_one(api, network):
    """The builder is the real one; that it refuses a layer is made up, with and without naming it."""
    graph, calibration = network
    model = flavours(graph, "int8", calibration).strong
    every = list(int8_layers(model))
    options = BuildOptions("int8", "strong", (120,))
    for named in (True, False):
        def picky(candidate, named=named):
            if every[0] in int8_layers(candidate):
                raise BuildFailed(f"no kernel for {every[0]}_Gemm" if named else "internal error")
            return build(api, candidate, options)

        found = back_off(picky, model)
        assert list(found.dropped) == [every[0]]
        assert list(int8_layers(found.model)) == every[1:]
        got = {layer.name: layer.got for layer in layers(found.model, from_log(found.built.log))}
        assert got[every[0]] == "fp16"
        assert all(got[name] == "int8" for name in every[1:])


def test_what_fails_without_int8_or_in_every_layer_is_an_error(network):
    graph, calibration = network
    model = flavours(graph, "int8", calibration).strong

    def refuse(candidate):
        raise BuildFailed("out of memory")

    with pytest.raises(BuildFailed, match="out of memory"):
        back_off(refuse, model)

    def refuse_int8(candidate):
        if int8_layers(candidate):
            raise BuildFailed("out of memory")

    with pytest.raises(BuildFailed, match="no layer builds in INT8: out of memory"):
        back_off(refuse_int8, model)


def test_a_layer_out_of_int8_keeps_its_weights(network):
    from edgekin.compile.onnx_export import run_onnx

    graph, calibration = network
    model = flavours(graph, "int8", calibration).weak
    q = np.random.default_rng(2).uniform(-1, 1, (4, 4))
    plain = without(model, int8_layers(model))
    assert int8_layers(plain) == {}
    # Only the activations' rounding is gone.
    assert 0 < np.abs(run_onnx(model, q) - run_onnx(plain, q)).mean() < 0.05


def test_what_cannot_be_built_is_one_line(api):
    with pytest.raises(ConfigError, match=r"builds for SM .*120.*, got 87\. Build on the device itself"):
        PlanMaker(api, None, PlanOptions((86, 87)))
    with pytest.raises(ConfigError, match="no GPU is here to time them on"):
        PlanMaker(api, None, PlanOptions(builds=3))
    with pytest.raises(BuildFailed, match="does not understand the ONNX"):
        maker(api).make(Flavours(b"nonsense", b"nonsense"), "fp32")


def test_a_build_can_be_repeated(api):
    from edgekin.compile.onnx_export import export_onnx
    from tests.unit.conftest import shuffle_graph

    model, options = export_onnx(shuffle_graph()), BuildOptions("fp32", "strong", (86,))
    assert build(api, model, options).plan == build(api, model, options).plan
