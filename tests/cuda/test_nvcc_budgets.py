"""Every CUDA kernel compiles for Orin, Hopper and Blackwell within its budget of registers, shared memory and stack."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgekin.runtime.cuda_kernels import FLAGS

CUDA = Path(__file__).resolve().parents[2] / "engines" / "cuda"
BUDGETS = json.loads((CUDA / "budgets.json").read_text())["kernels"]


def resources(log: str) -> dict[str, dict[str, int]]:
    """What `ptxas -v` says of each kernel."""
    found: dict[str, dict[str, int]] = {}
    for part in log.split("Compiling entry function")[1:]:
        name = re.match(r" '(\w+)'", part).group(1)
        number = lambda pattern, text=part: int((re.search(pattern, text) or [0, 0])[1])  # noqa: E731
        found[name] = {"registers": number(r"Used (\d+) registers"), "stack_bytes": number(r"(\d+) bytes stack frame"),
                       "spill_bytes": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
                       "static_shared_bytes": number(r"(\d+) bytes smem")}
    return found


@pytest.mark.parametrize("sm", [87, 90, 120])
def test_kernels_keep_their_budgets(tmp_path: Path, sm: int):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is missing: install the CUDA toolkit, or pip install nvidia-cuda-nvcc and put it into PATH")
    command = ["nvcc", *FLAGS, f"-arch=sm_{sm}", "-Xptxas", "-v", "-cubin", "-o", tmp_path / "k.cubin", "kernels.cu"]
    done = subprocess.run(command, cwd=CUDA, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    found = resources(done.stderr)
    assert found.keys() == BUDGETS.keys()
    for kernel, budget in BUDGETS.items():
        for what, limit in budget.items():
            assert found[kernel][what] <= limit, f"{kernel} on sm_{sm}: {what} {found[kernel][what]}, budget {limit}"
        assert found[kernel]["registers"] > 0
    print({name: use["registers"] for name, use in found.items()})
