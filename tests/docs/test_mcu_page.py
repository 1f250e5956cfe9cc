"""docs/mcu.md says what was recorded, and what was recorded holds what it promises."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tables_mcu(script):
    return script("tables_mcu")


def test_the_page_is_what_the_recorded_counts_give(tables_mcu):
    before, made = tables_mcu.rewritten()
    assert made == before, "run: python benchmarks/tables.py"


def test_recorded_models_are_exact_and_fit(tables_mcu):
    for model in tables_mcu.MODELS:
        for core in tables_mcu.CORES:
            result = json.loads((tables_mcu.FOLDER / f"{model}-{core}.json").read_text())
            assert (result["schema"], result["core"], result["mismatches"]) == ("edgekin.mcu/1", core, 0)
            assert result["instructions_exact"]
            if model == "k3dgs":
                assert max(result["flash_bytes"], result["ram_bytes"] + result["stack_bytes"]) <= 16 << 10
                assert result["psnr_db"] >= 30.0
                assert core != "m4" or result["instructions"] <= 250_000


def test_recorded_layers_beat_the_peer_everywhere(tables_mcu):
    content = json.loads((tables_mcu.FOLDER / "layers.json").read_text())
    assert content["schema"] == "edgekin.mcu_layers/1"
    for row in content["rows"]:
        assert row["mismatches"] == 0
        assert row["cmsis_nn"] is None or row["instructions"] < row["cmsis_nn"]
