"""Compiling a run, whole: what is published, what is refused, and that nothing is left behind."""

import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from edgekin.bundle import KNOWN_ANSWERS, MANIFEST, WEIGHTS, known_answers_bytes, load_bundle
from edgekin.compile.detector import DetectorPlan
from edgekin.compile.pipeline import CompileConfig, compile_run
from edgekin.errors import BundleError, ConfigError, DataError, GateMissed
from edgekin.quantization.calibrate import sigmoid
from edgekin.quantization.profile import Calibration, CalibrationProfile

CONFIG = CompileConfig(profile=CalibrationProfile(samples=40), detector=DetectorPlan(healthy_seconds=3.0))


def load(folder):
    from edgekin.training.run import load_run

    return load_run(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def content(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def int8(trained_runs, tmp_path_factory):
    """A published INT8 bundle and its result; read only."""
    pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
    out = tmp_path_factory.mktemp("bundle") / "bundle-int8"
    return compile_run(load(trained_runs / "tiny"), replace(CONFIG, out=out, force_int8=True))


@pytest.fixture
def bundle(int8, tmp_path):
    """A copy of the INT8 bundle that a test may damage."""
    import shutil

    return shutil.copytree(int8.bundle, tmp_path / "bundle-int8")


def test_an_int8_bundle_is_whole_small_and_within_the_gate(int8):
    assert names(int8.bundle) == ["calibration.json", "detector.json", KNOWN_ANSWERS, MANIFEST, WEIGHTS, "model.onnx",
                                  "robot.urdf", "robot.yaml", "robot_meshes.npz"]
    result = int8.to_json()
    assert result["parity"]["psnr_loss_db"] <= 0.1
    assert result["bytes"] <= 0.35 * result["bytes_fp32"]
    assert result["bytes"] == (int8.bundle / WEIGHTS).stat().st_size
    assert set(result["frame_us"]) == {"fp32", "int8"}
    assert result["fp32"]["psnr_db"] == pytest.approx(result["psnr_db"] + result["parity"]["psnr_loss_db"], abs=1e-3)


def test_a_published_bundle_loads_and_gives_its_known_answers_on_every_instruction_set(int8):
    from edgekin.runtime.engine import supported_isas

    loaded = load_bundle(int8.bundle)
    assert loaded.robot.name == "arm4"
    assert loaded.detector["schema"] == "edgekin.detector/1"
    assert loaded.detector["calibration"]["engine"] == "native int8"
    for isa in supported_isas():
        with loaded.open_engine(isa) as engine:
            assert engine.info.precision == "int8"


def test_the_manifest_names_provenance_and_settings(int8):
    manifest = load_bundle(int8.bundle).manifest
    assert manifest["provenance"]["seed"] == 0
    assert manifest["provenance"]["run_config"]["config"]["steps"] == 200
    assert manifest["config"]["max_psnr_loss_db"] == 0.1
    assert manifest["quantization"]["samples"] == 40
    calibration = Calibration.load(int8.bundle / "calibration.json")
    assert calibration.samples_sha256 == manifest["quantization"]["samples_sha256"]
    assert set(calibration.layers) == {"linear0", "linear1", "linear2", "conv0", "conv1"}


def test_the_qdq_onnx_agrees_with_the_integer_engine(int8, trained_runs):
    from edgekin.compile.onnx_export import run_onnx

    poses = load(trained_runs / "tiny").test.joint_pos
    with load_bundle(int8.bundle).open_engine() as engine:
        native = sigmoid(engine.predict(poses))
    onnx = sigmoid(run_onnx((int8.bundle / "model.onnx").read_bytes(), poses))
    # The ONNX keeps narrow layers and the head in FP32, so only the mean is small.
    assert np.abs(native - onnx).mean() < 0.005


def test_wrong_known_answers_are_noticed_although_every_hash_fits(bundle):
    manifest = json.loads((bundle / MANIFEST).read_text())
    with np.load(bundle / KNOWN_ANSWERS) as stored:
        poses, logits = stored["joint_pos"], stored["logits_int8"].copy()
    logits[3, 0, 50, 50] += 1
    floats = logits.astype(np.float32)
    for changed, says in (({"logits_int8": logits}, "fails its known answer 4 of 16 in .*: off by 1"),
                          ({"logits": floats, "tolerance": np.array(9.0)}, "not for its int8 engine"),
                          ({"logits_int8": logits[:, :, :5]}, "answers of shape")):
        raw = known_answers_bytes(poses, **changed)
        (bundle / KNOWN_ANSWERS).write_bytes(raw)
        manifest["files"][KNOWN_ANSWERS] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        (bundle / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(BundleError, match=says):
            load_bundle(bundle).open_engine()


def test_fp32_agrees_with_torch_to_rounding(run_folder):
    result = compile_run(load(run_folder), replace(CONFIG, precision="fp32"))
    assert result.bundle == run_folder / "bundle-fp32"
    assert abs(result.parity.psnr_loss_db) < 1e-3
    assert result.parity.max_abs_error < 1e-4
    assert "calibration.json" not in names(result.bundle)
    load_bundle(result.bundle).open_engine().close()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_onnx_targets_hold_the_gate(run_folder, precision):
    result = compile_run(load(run_folder), replace(CONFIG, precision=precision, target="onnx"))
    assert result.parity.psnr_loss_db <= 0.1
    assert WEIGHTS not in names(result.bundle)
    assert ("model.strong.onnx" in names(result.bundle)) == (precision == "int8")
    assert result.weight_bytes < 0.6 * result.weight_bytes_fp32
    assert load_bundle(result.bundle).target == "onnx"
    assert result.to_json()["detector"] is None


def test_a_method_that_misses_the_gate_is_replaced_by_one_that_holds_it(run_folder):
    profile = CalibrationProfile(samples=40, method="percentile", percentile=90.0)  # clips a tenth of everything
    result = compile_run(load(run_folder), replace(CONFIG, profile=profile, force_int8=True))
    assert result.calibration.method != "percentile"
    assert result.parity.psnr_loss_db <= 0.1


def test_a_model_beyond_int8_misses_the_gate_and_leaves_the_old_bundle_alone(run_folder, spoil):
    out = run_folder / "bundle-int8"
    compile_run(load(run_folder), replace(CONFIG, force_int8=True))
    before, beside = content(out), names(run_folder)
    spoil()
    with pytest.raises(GateMissed) as error:
        compile_run(load(run_folder), replace(CONFIG, force=True))
    assert error.value.exit_status == 3
    assert "int8 loses more than 0.1 dB of PSNR with every method" in str(error.value)
    for method in ("minmax", "percentile", "mse", "entropy", "auto"):
        assert f"{method}: " in str(error.value)
    assert "--max-psnr-loss" not in str(error.value)  # no gate is worth loosening so far
    assert content(out) == before
    assert names(run_folder) == beside


def test_a_narrow_miss_says_what_to_allow_and_that_works(run_folder, spoil):
    spoil(by=0.1)
    config = replace(CONFIG, max_psnr_loss_db=0.01, force_int8=True)
    with pytest.raises(GateMissed) as error:
        compile_run(load(run_folder), config)
    remedy = re.search(r"Allow it with --max-psnr-loss (\d\.\d\d), or compile --fp32", str(error.value))
    assert remedy is not None
    result = compile_run(load(run_folder), replace(config, max_psnr_loss_db=float(remedy[1])))
    assert result.parity.psnr_loss_db <= float(remedy[1])


def test_an_existing_bundle_is_replaced_only_by_force(run_folder):
    config = replace(CONFIG, precision="fp32")
    out = compile_run(load(run_folder), config).bundle
    before = content(out)
    with pytest.raises(BundleError, match="exists already; nothing was overwritten"):
        compile_run(load(run_folder), config)
    assert content(out) == before
    compile_run(load(run_folder), replace(config, force=True, seed=1))
    assert load_bundle(out).manifest["provenance"]["seed"] == 1
    assert [name for name in names(run_folder) if name.startswith(".")] == []


def test_force_replaces_bundles_only(run_folder, tmp_path):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "a.jpg").write_bytes(b"precious")
    with pytest.raises(BundleError, match="is not a bundle"):
        compile_run(load(run_folder), replace(CONFIG, out=out, force=True))
    assert names(out) == ["a.jpg"]


def test_an_output_that_cannot_be_written_fails_before_the_work(run_folder, tmp_path):
    (tmp_path / "file").write_text("")
    stages = []
    with pytest.raises(BundleError, match="cannot write the bundle"):
        compile_run(load(run_folder), replace(CONFIG, out=tmp_path / "file" / "bundle"),
                    lambda stage, share: stages.append(stage))
    assert stages == []


def test_an_interrupted_compilation_leaves_nothing_behind(run_folder):
    before = names(run_folder)

    def interrupt(stage, share):
        if stage == "write the bundle":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_run(load(run_folder), replace(CONFIG, precision="fp32"), interrupt)
    assert names(run_folder) == before


def test_a_slower_int8_is_not_published_silently(run_folder, monkeypatch):
    monkeypatch.setattr("edgekin.compile.result.SLOWER", 0.0)  # now INT8 counts as slower however fast it is
    result = compile_run(load(run_folder), CONFIG)
    assert (result.precision, result.bundle) == ("fp32", run_folder / "bundle-fp32")
    assert "INT8 is slower than FP32 on this machine" in result.note
    assert load_bundle(result.bundle).manifest["note"] == result.note
    assert result.to_json()["bytes"] == result.to_json()["bytes_fp32"]
    forced = compile_run(load(run_folder), replace(CONFIG, force_int8=True))
    assert (forced.precision, forced.note) == ("int8", "")


def test_too_few_training_poses_name_the_file_and_the_count(run_folder):
    from edgekin.sim.dataset import load_dataset, save_dataset

    path = run_folder / "train.npz"
    train = load_dataset(path)
    path.unlink()
    save_dataset(replace(train, joint_pos=train.joint_pos[:12], packed=train.packed[:12]), path)
    with pytest.raises(DataError, match=r"train\.npz holds 12 poses, need >= 32"):
        compile_run(load(run_folder), replace(CONFIG, profile=CalibrationProfile(poses="train")))
    assert not (run_folder / "bundle-int8").exists()


@pytest.mark.parametrize(("changes", "says"), [
    ({"precision": "fp16"}, "target native has fp32 and int8"),
    ({"precision": "int4"}, "int4"),
    ({"target": "abacus"}, "abacus"),
    ({"max_psnr_loss_db": -1.0}, "expected 0 dB or more"),
    ({"max_psnr_loss_db": float("nan")}, "expected 0 dB or more"),
    ({"profile": CalibrationProfile(samples=8)}, "asks for 8 poses"),
    ({"detector": DetectorPlan(camera_hz=0.0)}, "--camera-hz is 0"),
    ({"detector": DetectorPlan(healthy_seconds=0.1)}, "--healthy-seconds is 0.1"),
])
def test_settings_that_cannot_be_used_are_refused(changes, says):
    with pytest.raises(ConfigError, match=says):
        replace(CONFIG, **changes).validated()
