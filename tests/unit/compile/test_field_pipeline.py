"""A free-form model compiled: its plain ray-marcher in ONNX, and a clear line where there is nothing to compile to."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.compile.field_onnx import export_field
from edgekin.compile.native import NativeTarget
from edgekin.compile.onnx_export import run_onnx
from edgekin.compile.onnx_target import OnnxTarget
from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
for package in ("onnx", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train]'")


@pytest.fixture(scope="module")
def robot():
    spec = small_arm(25, 24)
    return replace(spec, cameras=(*spec.cameras, replace(spec.cameras[0], cx=9.0)))


@pytest.mark.parametrize(("size", "learn"), [("s", ("background",)), ("published", ())])
def test_onnx_draws_the_plain_marchers_pictures(robot, size, learn):
    model = build_model("ffksm", size, PictureShape.of(robot), 1, robot, learn)
    network = model.module
    with torch.no_grad():
        network.field.out.weight *= 4.0
        network.field.out.bias[1] = 0.05 if size == "published" else -1.0
        if learn:
            network.background.uniform_(-6.0, 1.0)
    onnx = export_field(network.graph())
    for q in np.random.default_rng(0).uniform(-1.2, 1.2, (2, 4)):
        with torch.no_grad():
            expected = network.render(torch.tensor(q, dtype=torch.float32), accelerated=False).numpy()
        assert np.ptp(expected) > 1.0, "there is something to see"
        np.testing.assert_allclose(run_onnx(onnx, q[None])[0], expected, atol=2e-3)


def test_fixed_and_held_joints_on_the_way_are_composed(robot):
    held = [replace(j, actuated=False, rest=0.4) if j.name == "shoulder" else j for j in robot.joints]
    spec = replace(robot, joints=tuple(held))
    network = build_model("ffksm", "s", PictureShape.of(spec), 0, spec).module
    with torch.no_grad():
        network.field.out.bias[1] = -1.0
        expected = network.render(torch.tensor([0.5, -0.3, 0.7]), accelerated=False).numpy()
    found = run_onnx(export_field(network.graph()), np.array([[0.5, -0.3, 0.7]]))[0]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_what_it_cannot_compile_to_is_said_in_a_line(robot):
    graph = build_model("ffksm", "s", PictureShape.of(robot), 0, robot).graph()
    for precision in ("fp32", "int8"):
        with pytest.raises(ConfigError, match="no native engine"):
            NativeTarget().field(graph, precision)
    for precision in ("fp16", "int8"):
        with pytest.raises(ConfigError, match=f"ONNX at fp32, got {precision}"):
            OnnxTarget().field(graph, precision)
