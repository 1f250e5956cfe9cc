"""docs/evolution.md says what was recorded, and what was recorded keeps its budgets and beats its controls."""

import pytest


@pytest.fixture
def tables_evolution(script):
    return script("tables_evolution")


def test_the_page_is_what_the_recorded_searches_give(tables_evolution):
    before, made = tables_evolution.rewritten()
    assert made == before, "run: python benchmarks/tables.py"


def test_recorded_winners_keep_their_budgets_and_were_emulated(tables_evolution):
    for _, results in tables_evolution.recorded():
        for result in results:
            assert result["schema"] == "edgekin.prune/1"
            assert result["emulated"]
            assert all(result["best"][name] <= allowed for name, allowed in result["budgets"].items())


def test_recorded_winners_beat_the_controls_that_keep_the_budgets(tables_evolution):
    for name, results in tables_evolution.recorded():
        for result in results:
            for control in result["controls"].values():
                if control["psnr_db"] is not None and control["kept"]:
                    assert result["best"]["psnr_db"] > control["psnr_db"], name
