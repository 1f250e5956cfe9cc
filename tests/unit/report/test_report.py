"""Plots and pages from a result."""

import importlib
import json
import re
import sys

import numpy as np
import pytest

from edgekin.errors import ConfigError, MissingExtra
from edgekin.report import page, plots, tables
from edgekin.report.pictures import packed_picture, unpacked_picture

for package in ("matplotlib", "jinja2"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[report]'")


def test_pictures_survive_as_text():
    picture = np.random.default_rng(1).uniform(size=(5, 7)).astype(np.float32)
    again = unpacked_picture(packed_picture(picture), (5, 7))
    assert np.abs(again - picture).max() <= 0.5 / 255 + 1e-6
    mask = picture > 0.5
    assert np.array_equal(unpacked_picture(packed_picture(mask), (5, 7)) > 0.5, mask)


def test_the_front_holds_what_no_other_beats(result):
    rows = [{"psnr_db": db, "latency_us": {"native": {"p50": us, "p99": us}, "torch": None}}
            for us, db in ((10, 20), (20, 19), (30, 25), (30, 24), (5, 12))]
    assert plots.front(rows) == [(5, 12), (10, 20), (30, 25)]
    assert plots.fastest(result["rows"][2]) == ("torch", 190_000.0)
    assert plots.fastest({"latency_us": {"torch": None}}) is None


def test_everything_is_written_and_the_page_needs_no_other_file(result, tmp_path):
    from matplotlib.image import imread

    page.write_report(result, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"compare.md", "compare.html", *(f"{n}.{end}" for n in page.PLOTS for end in ("png", "json"))}
    for name in page.PLOTS:
        picture = imread(tmp_path / f"{name}.png")
        assert picture.shape[0] > 100
        assert picture.std() > 0.01
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content["schema"] == f"edgekin.compare-{name.replace('_', '-')}/1"
        assert len(content) > 3
    html = (tmp_path / "compare.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("data:image/png;base64,") == len(page.PLOTS)
    assert "A &lt;CPU&gt;" in html
    assert "it is no &lt;graph&gt;" in html
    markdown = (tmp_path / "compare.md").read_text()
    for text in ("| k3dgs | 31.20 |", "8.2", "190,000 / -", "ffksm, native: it is no <graph>", "ffksm is the run old",
                 "left out: ablation curriculum", "floor: nearest training pose", "| 0.01 rad | 19.50 | -0.50 |",
                 "every budget times 0.5", "Read each beside its floors."):
        assert text in markdown, text
    assert all((tmp_path / link).is_file() for link in re.findall(r"\]\(([^)]+)\)", markdown))


def test_the_same_result_gives_the_same_bytes(result):
    assert plots.pareto(result) == plots.pareto(result)
    assert page.html(result, {"pareto": b"x"}) == page.html(result, {"pareto": b"x"})


def test_without_ablations_there_is_no_plot_of_them(result):
    result["ablations"] = []
    assert set(page.draw(result)) == {"pareto", "data_efficiency", "panels"}
    result["data_efficiency"] = {"samples": [], "models": {}, "floors_psnr_db": {}}
    assert not page.has(result, "data_efficiency")
    assert "What samples buy" not in page.html(result, {})


def test_published_figures_stand_beside_the_best_row_of_a_model(result):
    result["rows"].append({**result["rows"][0], "model": "k3dgs small", "psnr_db": 12.0})
    cells = tables.published(result).rows
    assert cells[0][0] == "k3dgs"
    assert cells[0][5] == "31.20"
    assert cells[1][5:] == ("-", "-", "-")


@pytest.mark.parametrize(("package", "build"), [
    ("matplotlib.figure", lambda result: page.draw(result)), ("jinja2", lambda result: page.html(result, {}))])
def test_what_is_not_installed_is_named_with_its_extra(result, monkeypatch, package, build):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"edgekin\[report\]"):
        build(result)
    importlib.invalidate_caches()


def test_a_place_that_cannot_be_written_is_one_clear_line(result, tmp_path):
    with pytest.raises(ConfigError, match="cannot write into"):
        page.write_report(result, tmp_path / "nowhere")
