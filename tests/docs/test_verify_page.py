"""docs/verify.md says what was recorded, and the recorded detector keeps what it promises."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tables_verify(script):
    return script("tables_verify")


def test_the_page_is_what_the_recorded_verifications_give(tables_verify):
    before, made = tables_verify.rewritten(draw=False)
    assert made == before, "run: python benchmarks/tables.py"


def test_no_recorded_detector_gave_a_false_alarm(tables_verify):
    recorded = [json.loads(path.read_text()) for path in tables_verify.RESULTS.glob("*/verify-*.json")]
    assert recorded
    for result in recorded:
        assert (result["schema"], result["healthy"]["alarms"]) == ("edgekin.verify/1", 0)
        # Three hours at the usual rate; so many frames, and more, take half an hour at 1 kHz.
        assert result["healthy"]["hours"] >= (3 if result["settings"]["camera_hz"] <= 60 else 0.5)
        assert result["healthy"]["frames"] >= 3 * 3600 * 60
