"""docs/engines.md says what was recorded."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_recorded_results_give(script):
    before, made = script("tables_engines").rewritten(draw=False)
    assert made == before, "run: python benchmarks/tables.py"


def test_recorded_results_follow_their_schema():
    for path in ROOT.glob("benchmarks/results/*/engines-*.json"):
        result = json.loads(path.read_text())
        assert result["schema"] == "edgekin.engines/1"
        assert {"onnxruntime_fp32", "best_peer", "best_fp32_peer"} <= set(result["ratios"])
        assert (ROOT / "docs" / f"{path.stem}-{path.parent.name}.png").is_file()
        for engine in result["engines"]:
            assert (engine["p99_9_us"] is None) == (engine["n"] < 10_000)
            assert 0 < engine["p50_us"] <= engine["p99_us"] <= engine["max_us"]
            assert engine["psnr_db"] > 5
