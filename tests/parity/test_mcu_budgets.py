"""Single layers cost no more instructions than what was recorded for the same compiler."""

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "benchmarks" / "results" / "mcu" / "layers.json"
#: Kernels change together with the record; this much may come of another layout of the code.
SLACK = 1.01


@pytest.mark.parametrize("name", ["m3", "m4", "m55", "rv32"])
def test_layers_cost_no_more_than_was_recorded(name, monkeypatch, tmp_path):
    if not RECORDED.is_file():
        pytest.skip("needs the checkout: benchmarks/ is not installed")
    pytest.importorskip("edgekin._ek", reason="build it: python setup.py build_ext --inplace")
    from edgekin.compile.mcu import build, emulate
    from edgekin.compile.mcu.cores import CORES, PACKAGES

    core, recorded = CORES[name], json.loads(RECORDED.read_text())
    missing = [tool for tool in (core.compiler, core.emulator, "cc") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: apt-get install build-essential {' '.join(PACKAGES)}")
    if build.version(core) != recorded["compilers"][name]:
        pytest.skip(f"recorded with {recorded['compilers'][name]}, here is {build.version(core)}")
    if emulate.plugin(tmp_path) is None:
        pytest.skip("no plugin for QEMU can be built here")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench_mcu

    try:
        budgets = {row["layer"]: row["instructions"] for row in recorded["rows"] if row["core"] == name}
        for layer, (graph, counted) in bench_mcu.networks().items():
            steps, wrong = bench_mcu.count(graph, core, tmp_path)
            assert wrong == 0
            assert sum(steps[step] for step in counted) <= SLACK * budgets[layer], layer
    finally:
        sys.modules.pop("bench_mcu", None)
