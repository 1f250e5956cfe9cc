"""The scripts of benchmarks/ that write pages, imported from the checkout."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """A function that imports one by its name; none of them stays imported."""
    if not BENCHMARKS.is_dir():
        pytest.skip("needs the checkout: benchmarks/ is not installed")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.startswith("tables"):
            del sys.modules[name]
