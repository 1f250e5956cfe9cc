"""What tests of several folders share: a tiny run, trained for real in seconds."""

import os
import shutil
import signal

import pytest

from tests.exact_arm import World, exact_arm
from tests.host_gpu import build
from tests.small_arm import small_arm


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """A shell ignores SIGINT in what it runs in the background, and children inherit that: here they can be stopped."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def world():
    """The arm whose model is exact, and a world that shows it, whatever happens to it."""
    world = World(*exact_arm())
    yield world
    world.close()


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory):
    """A runs folder with the run "tiny": arm4, size s, 200 optimiser steps. Copy it before changing anything in it."""
    for package in ("torch", "pybullet", "onnx", "onnxruntime", "safetensors", "matplotlib"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train]'")
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import train

    root = tmp_path_factory.mktemp("trained") / "runs"
    before = os.environ.get("EDGEKIN_RUNS")
    os.environ["EDGEKIN_RUNS"] = str(root)
    try:
        # Enough to be better than any constant picture, so that a spoiled model scores worse.
        config = TrainConfig(size="s", protocol="uniform", samples=400, test_samples=40, steps=200, name="tiny")
        train(config.validated())
    finally:
        if before is None:
            del os.environ["EDGEKIN_RUNS"]
        else:
            os.environ["EDGEKIN_RUNS"] = before
    return root


@pytest.fixture(scope="session")
def body_bundle(tmp_path_factory):
    """A bundle of a body model of the small arm, 48x48 px, good to a degree. Copy it before changing anything in it."""
    for package in ("torch", "pybullet", "safetensors", "matplotlib"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train]'")
    from edgekin.compile.detector import DetectorPlan
    from edgekin.compile.pipeline import CompileConfig, compile_run
    from edgekin.robot import save_robot
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import train

    folder = tmp_path_factory.mktemp("body-bundle")
    save_robot(small_arm(48, 48), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIN_RUNS", str(folder / "runs"))
        run = train(TrainConfig(robot=str(folder), model="k3dgs", size="s", protocol="uniform", samples=200,
                                test_samples=40, steps=400, name="body").validated()).run
    detector = DetectorPlan(healthy_seconds=3.0)
    return compile_run(run, CompileConfig(precision="fp32", detector=detector, out=folder / "bundle")).bundle


@pytest.fixture(scope="session")
def inspected_bundle(body_bundle, tmp_path_factory):
    """The same with an inspector that was calibrated for 20 pictures a second. Copy it before changing anything."""
    from edgekin.calibrating import InspectionPlan, calibrate_bundle

    bundle = shutil.copytree(body_bundle, tmp_path_factory.mktemp("inspected") / "bundle")
    calibrate_bundle(bundle, InspectionPlan(camera_hz=20.0, hours=0.17, fit_minutes=2.0))
    return bundle


@pytest.fixture(scope="session")
def host_library(tmp_path_factory):
    """The driver of a GPU that is this processor; what tests change of it stays changed: take host_driver."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing: apt-get install build-essential")
    return build(tmp_path_factory.mktemp("libcuda"))


@pytest.fixture
def host_driver(host_library):
    """The same, as new."""
    host_library.reset()
    yield host_library
    host_library.reset()


@pytest.fixture
def run_folder(trained_runs, tmp_path, monkeypatch):
    """A copy of the tiny run that a test may change; EDGEKIN_RUNS points at its root."""
    root = tmp_path / "runs"
    shutil.copytree(trained_runs, root)
    monkeypatch.setenv("EDGEKIN_RUNS", str(root))
    return root / "tiny"


@pytest.fixture
def spoil(run_folder):
    """A function that gives the run's model two huge hidden units, or less huge ones, that cancel in FP32 alone."""
    def change(by=1.0):
        from edgekin.models import load_model

        model = load_model(run_folder / "model.safetensors")
        state = model.module.state_dict()
        state["layers.1.weight"][:2] = 0.0
        state["layers.1.bias"][0], state["layers.1.bias"][1] = 2.0**10, 2.0**11
        state["layers.3.weight"][:, 0], state["layers.3.weight"][:, 1] = 64.0 * by, -32.0 * by
        (run_folder / "model.safetensors").write_bytes(model.to_bytes())

    return change
