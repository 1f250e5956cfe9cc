"""A body model from training to a bundle that the engine runs."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgekin.bundle import BODY, KNOWN_ANSWERS, MANIFEST, WEIGHTS, load_bundle
from edgekin.compile.detector import DetectorPlan
from edgekin.compile.evaluate import evaluate
from edgekin.compile.pipeline import CompileConfig, compile_run
from edgekin.errors import BundleError, ConfigError
from edgekin.runtime.engine import supported_isas
from edgekin.runtime.profile import profile_engine

CONFIG = CompileConfig(detector=DetectorPlan(healthy_seconds=3.0), force_int8=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """arm4 as a body model, 300 steps."""
    for package in ("torch", "pybullet", "safetensors", "matplotlib"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train]'")
    from edgekin.training.settings import TrainConfig
    from edgekin.training.train import train

    before = os.environ.get("EDGEKIN_RUNS")
    os.environ["EDGEKIN_RUNS"] = str(tmp_path_factory.mktemp("body") / "runs")
    try:
        return train(TrainConfig(model="k3dgs", size="s", protocol="uniform", samples=200, test_samples=40, steps=300,
                                 name="body").validated()).run
    finally:
        if before is None:
            del os.environ["EDGEKIN_RUNS"]
        else:
            os.environ["EDGEKIN_RUNS"] = before


@pytest.fixture(scope="module")
def bundles(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles")
    return {p: compile_run(run, replace(CONFIG, precision=p, out=out / p)) for p in ("fp32", "int8")}


def test_a_run_says_what_was_trained(run):
    assert (run.metrics["model"], run.config["model"]["name"]) == ("k3dgs", "k3dgs")
    assert run.metrics["parameters"] <= 12 * 8 * 5
    assert run.metrics["psnr_db"] > 5 + max(floor["psnr_db"] for floor in run.metrics["floors"].values())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_is_whole_and_gives_torchs_pictures(bundles, run, precision):
    result = bundles[precision]
    assert sorted(path.name for path in result.bundle.iterdir()) == sorted(
        ["detector.json", KNOWN_ANSWERS, MANIFEST, WEIGHTS, "robot.urdf", "robot.yaml", "robot_meshes.npz"])
    assert result.parity.psnr_loss_db <= 0.1
    assert result.parity.max_abs_error < (1e-5 if precision == "fp32" else 1.0)
    loaded = load_bundle(result.bundle)
    for isa in supported_isas():
        with loaded.open_engine(isa) as engine:
            assert engine.info.n_layers == 1
    found = evaluate(result.bundle, run.path / "test.npz")
    assert found.score.psnr_db == pytest.approx(result.parity.psnr_db, abs=0.01)


def test_int8_halves_the_file(bundles):
    assert bundles["int8"].weight_bytes < 0.75 * bundles["fp32"].weight_bytes
    manifest = load_bundle(bundles["int8"].bundle).manifest
    assert (manifest["precision"], manifest["quantization"]) == ("int8", None)


def test_the_profile_names_the_layer(bundles, run):
    test = run.test
    with load_bundle(bundles["fp32"].bundle).open_engine() as engine:
        found = profile_engine(engine, test.joint_pos[:2], test.packed[:2], ticks=5, budget_s=0.02)
    assert [layer.name for layer in found.layers] == ["ellipsoids0", "scoring"]
    assert found.layers[0].weight_bytes > 0


def test_a_target_that_cannot_draw_says_so(run, tmp_path):
    with pytest.raises(ConfigError, match="no ONNX"):
        compile_run(run, replace(CONFIG, precision="fp32", target="onnx", out=tmp_path / "b"))
    assert list(tmp_path.iterdir()) == []




def test_the_manifest_says_what_a_body_learned_from_elsewhere(run, tmp_path):
    from edgekin.training.run import METRICS

    about = replace(run, path=shutil.copytree(run.path, tmp_path / "about"))
    (about.path / METRICS).write_text(json.dumps(run.metrics | {"n_about": 7}))
    bundle = compile_run(about, replace(CONFIG, precision="fp32", out=tmp_path / "b")).bundle
    assert (run.n_about, load_bundle(bundle).manifest["body"]["n_about"]) == (0, 7)


def test_a_bundle_of_a_pair_carries_both(bundles, run, tmp_path):
    from edgekin.training.settings import TrainConfig, runs_under
    from edgekin.training.train import train

    with runs_under(tmp_path / "runs"):
        pair = train(TrainConfig(size="s", teacher=str(run.path), protocol="uniform", samples=200, test_samples=40,
                                 steps=100, name="pair").validated()).run
    both = compile_run(pair, replace(CONFIG, precision="fp32", out=tmp_path / "both"))
    loaded = load_bundle(both.bundle)
    entry = loaded.manifest["body"]
    assert entry["bytes"] == (both.bundle / BODY).stat().st_size < 10_000
    assert entry["parity"]["psnr_loss_db"] == pytest.approx(0.0, abs=0.01)
    assert entry["n_about"] == run.n_about == load_bundle(bundles["fp32"].bundle).manifest["body"]["n_about"]
    with loaded.open_engine() as engine:
        assert engine.info.n_layers > 1
    with loaded.open_body() as body:
        found = 1 / (1 + np.exp(-body.predict(pair.test.joint_pos[:5])))
    assert np.abs(found - run.self_model.probabilities(pair.test.joint_pos[:5])).max() < 1e-4
    alone = compile_run(pair, replace(CONFIG, precision="fp32", body_model=False, out=tmp_path / "alone"))
    assert not (alone.bundle / BODY).exists()
    with pytest.raises(BundleError, match="no body model"):
        load_bundle(alone.bundle).open_body()
    (both.bundle / BODY).write_bytes((both.bundle / BODY).read_bytes()[:-4])
    with pytest.raises(BundleError, match=BODY):
        load_bundle(both.bundle)


def test_a_body_models_own_bundle_opens_it_too(bundles):
    loaded = load_bundle(bundles["int8"].bundle)
    assert loaded.has_body
    with loaded.open_body() as engine:
        assert engine.info.n_layers == 1
