"""The wheel: installs alone into a clean venv, brings one name, and runs an engine with no torch near."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUN_AN_ENGINE = """
import sys
import numpy as np
import edgekin, edgekin.bundle, edgekin.detection, edgekin.runtime
from edgekin.compile.weights import write_weights
from edgekin.models.graph import Graph, Layer
from edgekin.runtime.engine import Engine

rng = np.random.default_rng(0)
graph = Graph(2, 1, 4, 4, (
    Layer("sincos", "input"),
    Layer("linear", "linear0", {"relu": False}, rng.normal(size=(16, 4)).astype("f4"), np.zeros(16, "f4")),
    Layer("reshape", "reshape0", {"channels": 1, "height": 4, "width": 4}),
))
with Engine.open(write_weights(graph)) as engine:
    logits = engine.predict(np.array([[0.1, -0.2]]))
q = np.array([0.1, -0.2])
expected = graph.layers[1].weight @ np.concatenate([np.sin(q), np.cos(q)])
assert np.allclose(logits.ravel(), expected, atol=1e-5), (logits, expected)
loaded = {"torch", "pybullet", "onnx", "onnxruntime"} & set(sys.modules)
assert not loaded, loaded
for name in ("torch", "pybullet", "onnx"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise AssertionError(f"{name} is installed: this environment proves nothing")
print("ran", edgekin.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    # Built from what git tracks, so that a file that was never added is missed here and not by a user.
    files = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
        .stdout.decode()
        .split("\0")
    )
    if not any(files):
        pytest.skip("not a git checkout: the wheel is built from the tracked files")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(source)], check=True
    )
    return next(out.glob("*.whl"))


def test_the_wheel_holds_only_edgekin(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops - {name for name in tops if name.endswith(".dist-info")} == {"edgekin"}


def test_the_wheel_carries_the_built_in_arm_the_page_template_and_the_engine(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "edgekin/data/arm4/arm4.urdf" in names
    assert "edgekin/report/templates/compare.html.j2" in names
    assert any(name.startswith("edgekin/_ek.") for name in names)


def clean_environment():
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def run_an_engine(interpreter, wheel, folder):
    """Install the wheel into a venv of this interpreter and run an engine there; return the venv."""
    venv = folder / "venv"
    subprocess.run([interpreter, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    done = subprocess.run(
        [python, "-c", RUN_AN_ENGINE], capture_output=True, text=True, cwd=folder, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ran")
    return venv


def interpreters(version):
    """Return the interpreters of this version on PATH and in pyenv that work (a pyenv shim may not)."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
    return [
        str(path)
        for path in candidates
        if path and subprocess.run([path, "-c", "import venv"], capture_output=True).returncode == 0
    ]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_the_wheel_runs_on_every_supported_python(wheel, tmp_path, version):
    """One wheel serves them all: the C extension keeps to the stable ABI."""
    found = interpreters(version)
    if not found:
        pytest.skip(f"no python{version} on PATH or in pyenv: pyenv install {version}")
    run_an_engine(found[0], wheel, tmp_path)


def test_a_clean_venv_runs_an_engine_without_torch(wheel, tmp_path):
    venv = run_an_engine(sys.executable, wheel, tmp_path)
    env = clean_environment()
    train = subprocess.run(
        [str(venv / "bin" / "edgekin"), "train"], capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert train.returncode == 1
    assert "pip install 'edgekin[train]'" in train.stderr
    assert "Traceback" not in train.stderr
