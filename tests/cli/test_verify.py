"""edgekin verify end to end, tiny: files, schema, going on after a kill, any number of processes, and every refusal."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import pytest

from edgekin.bundle import KNOWN_ANSWERS, MANIFEST, ONNX, write_manifest
from edgekin.cli import cli
from edgekin.errors import EdgekinError
from edgekin.pieces import PieceStore
from edgekin.robot import save_robot
from edgekin.verification.settings import VerifyConfig
from edgekin.verification.work import Setting, bench_of
from tests.cli.refusals import assert_refused
from tests.small_arm import small_arm

for package in ("torch", "matplotlib", "jinja2", "river", "pyod"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[train,verify]'")
CASES = ("--cases", "bend:2:20,encoder-bias:3:5,camera-bump:5,lighting:5")
SHORT = ("--hours", "0.05", "--runs", "6", "--nuisance-runs", "4", "--camera-hz", "8")
RULES = {"threshold", "cusum", "cusum-regions", "page-hinkley", "adwin", "mcd", "always", "never"}


def edgekin(*args):
    cli.main([str(a) for a in args], standalone_mode=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A body model of arm4 in 24x24 px, trained and compiled in seconds."""
    root = tmp_path_factory.mktemp("verify")
    (root / "robot").mkdir()
    save_robot(small_arm(24, 24), root / "robot")
    before = os.environ.get("EDGEKIN_RUNS")
    os.environ["EDGEKIN_RUNS"] = str(root / "runs")
    try:
        edgekin("train", "--robot", root / "robot", "--model", "k3dgs", "--size", "s", "--samples", 200, "--steps", 400,
                "--protocol", "uniform", "--name", "v")
        edgekin("compile", "v", "--fp32", "--healthy-seconds", 60)
    finally:
        if before is None:
            del os.environ["EDGEKIN_RUNS"]
        else:
            os.environ["EDGEKIN_RUNS"] = before
    return root / "runs" / "v" / "bundle-fp32"


@pytest.fixture(autouse=True)
def _runs(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))


def timeless(result):
    """A result without what the clock says."""
    plain = json.loads(json.dumps(result))
    plain["exec_us"] = None
    for row in (plain["versus"]["on_shared"], *plain["baselines"].values()):
        row["exec_us"] = None
    return plain


def pieces(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "pieces").glob("*.json")}


@pytest.fixture(scope="module")
def whole(bundle, tmp_path_factory):
    """A verification in one go, in one process: the folder."""
    folder = tmp_path_factory.mktemp("whole")
    edgekin("verify", bundle, *CASES, *SHORT, "--jobs", 1, "--out", folder / "out", "--json", folder / "v.json",
            "--html", folder / "v.html")
    return folder


def test_the_result_has_everything_and_the_page_needs_no_other_file(whole):
    result = json.loads((whole / "v.json").read_text())
    assert result == json.loads((whole / "out" / "verify.json").read_text())
    assert list(result)[:3] == ["schema", "revision", "seed"]
    assert result["schema"] == "edgekin.verify/1"
    healthy = result["healthy"]
    assert healthy["streams"] == 3
    assert healthy["frames"] <= 3 * 480
    assert healthy["rate_bound_per_hour"] > 0
    assert [case["damage"] for case in result["cases"]] == ["bend:2:20", "encoder-bias:3:5"]
    for case in result["cases"]:
        assert case["n"] == 6
        assert case["missed"] + case["early"] <= 1.0
        assert {"kind", "size", "joint", "median_frames", "p95_frames", "median_ms", "p95_ms", "class_right",
                "isolation_top1", "abstained", "size_error"} <= set(case)
    assert [n["name"] for n in result["nuisances"]] == ["camera-bump:5", "lighting:5"]
    assert all(n["n"] == 4 and n["body_alarms"] <= n["alarms"] for n in result["nuisances"])
    # Beside the rules there may be detectors of the bundle that are not the verified one.
    assert set(result["baselines"]) - {"shipped"} == RULES
    always, never = (result["baselines"][name] for name in ("always", "never"))
    assert (always["early"], always["healthy_alarms"], always["median_frames"]) == (1.0, 1, None)
    assert (never["missed"], never["healthy_alarms"]) == (1.0, 0)
    assert never["n"] == 4  # of six runs two are watched by the baselines, of two damages
    assert 0.5 < result["auc"]["bend:2:20"][result["subject"]] <= 1.0
    assert set(result["exec_us"]) >= {"p50", "p99", "p99_9", "max"}
    assert result["confusion"]["joints"]["true"] == [joint.name for joint in small_arm(24, 24).actuated]
    page = (whole / "v.html").read_text()
    assert page == (whole / "out" / "verify.html").read_text()
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    for name in ("delays", "operating", "confusion", "example", "aucs"):
        assert (whole / "out" / f"{name}.png").stat().st_size > 5000


def test_a_killed_verification_goes_on_to_the_same_result_in_other_processes(bundle, whole, tmp_path, capsys):
    """A real process, really killed; two workers, where the other had none."""
    out = tmp_path / "out"
    args = ("verify", str(bundle), *CASES, *SHORT, "--jobs", "2", "--out", str(out))
    process = subprocess.Popen([sys.executable, "-m", "edgekin", *args], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while len(pieces(out)) < 34 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    before = pieces(out)
    assert len(before) >= 34, stderr
    assert not (out / "verify.json").exists()

    edgekin(*args)
    after = pieces(out)
    assert len(after) > len(before)
    assert {name: after[name] for name in before} == before
    again, once = (timeless(json.loads(path.read_text())) for path in (out / "verify.json", whole / "v.json"))
    assert again == once
    said = capsys.readouterr().out
    assert "95% confidence" in said
    assert "page-hinkley" in said
    with pytest.raises(EdgekinError, match="exists already"):
        edgekin(*args, "--html", whole / "v.html")


def test_ctrl_c_keeps_what_is_finished(bundle, tmp_path):
    out = tmp_path / "out"
    args = ("verify", str(bundle), *CASES, "--hours", "20", "--jobs", "2", "--camera-hz", "8", "--out", str(out))
    process = subprocess.Popen([sys.executable, "-m", "edgekin", *args], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while len(pieces(out)) < 3 and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    assert "plan: 14,400 frames of calibration, 576,000 healthy frames, 4 cases" in stderr
    assert len(pieces(out)) >= 3


def test_a_process_opens_everything_once(bundle, tmp_path):
    """Units come to a worker pickled, each with its own copy of the setting."""
    store = PieceStore(tmp_path / "s", "verification", "x", {}, False)
    one, other = (Setting(VerifyConfig(bundle), store, ("a",), (("cusum", 1.0),)) for _ in range(2))
    copy = pickle.loads(pickle.dumps(other))
    assert copy.store is not one.store
    assert bench_of(copy) is bench_of(one)
    assert bench_of(Setting(VerifyConfig(bundle), store)) is not bench_of(one)


def test_without_baselines_and_libraries(bundle, tmp_path, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pyod" else found(name, *a))
    with pytest.raises(EdgekinError, match=r"pyod.*edgekin\[verify\]"):
        edgekin("verify", bundle)
    edgekin("verify", bundle, "--no-baselines", "--cases", "tool:10", "--hours", 0.017, "--runs", 1, "--camera-hz", 5,
            "--jobs", 1, "--out", tmp_path / "out")
    result = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert not set(result["baselines"]) & RULES
    assert (result["cases"], result["versus"]["ratio"]) == ([], None)
    assert result["nuisances"][0]["name"] == "tool:10"


def copied(bundle, folder, **changes):
    """A copy of a bundle with another manifest."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    kept = {key: value for key, value in manifest.items() if key not in ("schema", "format_version", "files")}
    write_manifest(folder, {**kept, **changes})
    return folder


def test_a_bundle_without_a_detector_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "plain")
    for name in ("detector.json", "model.ekw"):
        (tmp_path / "plain" / name).unlink()
    (tmp_path / "plain" / ONNX).write_bytes(b"no network")
    assert (tmp_path / "plain" / KNOWN_ANSWERS).exists()
    folder = copied(tmp_path / "plain", tmp_path / "onnx", target="onnx")
    with pytest.raises(EdgekinError, match="has no detector"):
        edgekin("verify", folder, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_bundle_or_work_is_not_mixed_in(bundle, whole, tmp_path):
    other = copied(bundle, tmp_path / "other", note="compiled again")
    with pytest.raises(EdgekinError, match=r"holds a verification with bundle_sha256 .*--force"):
        edgekin("verify", other, *CASES, *SHORT, "--out", whole / "out")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "t.txt").write_text("years of work")
    with pytest.raises(EdgekinError, match="holds no verification"):
        edgekin("verify", bundle, "--out", tmp_path / "thesis", "--force")
    assert (tmp_path / "thesis" / "t.txt").exists()


@pytest.mark.parametrize(("args", "match"), [
    (("--cases", "bnd:2:5"), "Did you mean 'bend'"),
    (("--cases", "bend:9:5"), "expected 1 to 4"),
    (("--cases", "my.yaml"), "cannot be read"),
    (("--hours", "0"), "--hours is 0, expected"),
    (("--cameras", "2"), "has 1"),
    (("--json", "no/such/folder/v.json"), "cannot write"),
])
def test_what_cannot_be_done_is_one_clear_line(args, match, bundle, tmp_path):
    command = [sys.executable, "-m", "edgekin", "verify", str(bundle), *args, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert_refused(done, 1, match)
    assert not (tmp_path / "out").exists()


def test_a_file_that_names_an_unknown_link_is_refused(bundle, tmp_path):
    (tmp_path / "my.yaml").write_text("damages: {sagging: {events: 'bend:elbw:5'}}")
    with pytest.raises(EdgekinError, match=r"my.yaml: sagging: .*'elbw'"):
        edgekin("verify", bundle, "--cases", tmp_path / "my.yaml")
    with pytest.raises(EdgekinError, match="does not exist"):
        edgekin("verify", tmp_path / "nowhere")
