"""docs/verify.md says what was recorded, and the recorded detector keeps what it promises."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tables_verify(monkeypatch):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("needs the checkout: benchmarks/ is not installed")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables_verify

    yield tables_verify
    for name in ("tables_verify", "tables_engines"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_recorded_verifications_give(tables_verify):
    before, made = tables_verify.rewritten(draw=False)
    assert made == before, "run: python benchmarks/tables.py"


def test_no_recorded_detector_gave_a_false_alarm(tables_verify):
    recorded = [json.loads(path.read_text()) for path in tables_verify.RESULTS.glob("*/verify-*.json")]
    assert recorded
    for result in recorded:
        assert (result["schema"], result["healthy"]["alarms"]) == ("edgekin.verify/1", 0)
        assert result["healthy"]["hours"] >= 3
