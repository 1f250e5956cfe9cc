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


def test_the_readme_says_what_was_recorded(tables_mcu):
    result = json.loads((tables_mcu.FOLDER / "k3dgs-m4.json").read_text())
    said = (f"{result['instructions'] / 1000:.0f} thousand instructions of a Cortex-M4, "
            f"{result['flash_bytes'] // 1024} KiB of flash and {result['ram_bytes'] // 1024} KiB of RAM, "
            f"at {result['psnr_db']:.0f} dB")
    assert said in " ".join((ROOT / "README.md").read_text().split())


def test_recorded_layers_beat_the_peer_everywhere(tables_mcu):
    content = json.loads((tables_mcu.FOLDER / "layers.json").read_text())
    assert content["schema"] == "edgekin.mcu_layers/1"
    for row in content["rows"]:
        assert row["mismatches"] == 0
        assert row["cmsis_nn"] is None or row["instructions"] < row["cmsis_nn"]
