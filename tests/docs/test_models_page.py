"""docs/models.md says what was recorded."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: A real one: preset quick on seed_arm, on a machine that was busy with other things.
QUICK = Path(__file__).with_name("compare-quick.json")


@pytest.fixture
def drawing(script):
    return script("tables_models")


def test_the_page_is_what_the_recorded_results_give(drawing):
    before, made = drawing.rewritten(draw=False)
    assert made == before, "run: python benchmarks/tables.py"


def test_recorded_comparisons_follow_their_schema():
    for path in ROOT.glob("benchmarks/results/*/compare-*.json"):
        result = json.loads(path.read_text())
        assert result["schema"] == "edgekin.compare/1"
        assert not any("dirty" in revision for revision in result["revisions"])
        floor = max(f["psnr_db"] for f in result["floors"].values())
        assert result["rows"][0]["psnr_db"] > floor
        name = path.stem.removeprefix("compare-")
        for plot in ("pareto", "data_efficiency", "panels", "ablations"):
            assert (ROOT / "docs" / f"models-{name}-{path.parent.name}-{plot}.png").is_file()


def test_a_recorded_comparison_becomes_page_plots_and_readme_table(drawing, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install 'edgekin[report]'")
    result = json.loads(QUICK.read_text())
    results, docs = tmp_path / "results", tmp_path / "docs"
    (results / "box").mkdir(parents=True)
    docs.mkdir()
    result["protocol"]["preset"] = "full"
    (results / "box" / "compare-one.json").write_text(json.dumps(result))
    monkeypatch.setattr(drawing, "RESULTS", results)
    monkeypatch.setattr(drawing, "PAGE", docs / "models.md")
    (docs / "models.md").write_text(f"Head.\n\n{drawing.BEGIN}\n{drawing.END}\nTail.\n")
    _, made = drawing.rewritten(draw=True)
    assert made.startswith("Head.")
    assert made.endswith("Tail.\n")
    assert "## one" in made
    assert sorted(path.name for path in docs.glob("*.png")) == sorted(
        f"models-one-box-{plot}.png" for plot in ("pareto", "data_efficiency", "panels", "ablations"))
    assert all(path.name in made for path in docs.glob("*.png"))
    best = result["rows"][0]
    assert f"| {best['model']} | {best['psnr_db']:.2f} |" in "\n".join(drawing.readme(results / "box"))
    result["protocol"]["preset"] = "quick"
    (results / "box" / "compare-one.json").write_text(json.dumps(result))
    assert drawing.readme(results / "box") == []
