"""Tables, sentences and the page of a verification, from a made-up result with every case."""

import re

import pytest

from edgekin.report import verify_page, verify_plots, verify_tables
from edgekin.report.pictures import ENCODING, packed_picture

for package in ("matplotlib", "jinja2"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'edgekin[report]'")


def case(damage, joint, median, missed=0.0, early=0.0, **changes):
    kind, *rest = damage.split(":")
    return {"damage": damage, "kind": kind, "size": float(rest[1]) if len(rest) > 1 else None, "joint": joint,
            "unit": "DEG" if len(rest) > 1 else "", "n": 20, "median_frames": median, "p95_frames": median,
            "median_ms": 10.0, "p95_ms": 20.0, "missed": missed, "early": early, "class_right": 1.0,
            "isolation_top1": 0.9, "decided": 18, "abstained": 0.1, "size_error": 0.4, "interval_right": None,
            **changes}


def row(median, alarms=0, hours=1.0, **changes):
    return {"threshold": 3.25, "healthy_hours": hours, "healthy_alarms": alarms, "rate_per_hour": alarms / hours,
            "rate_bound_per_hour": 3.0, "n": 14, "median_frames": median, "p95_frames": 60.0, "median_ms": 9.0,
            "missed": 0.1, "early": 0.0, "median_frames_by_kind": {"bend": median}, "nuisance_runs": 7,
            "nuisance_alarms": 2, "nuisance_body_alarms": 2, "exec_us": None, **changes}


@pytest.fixture
def result():
    healthy = {"hours": 3.0, "frames": 648_000, "streams": 180, "alarms": 0, "by_class": {}, "rate_per_hour": 0.0,
               "rate_bound_per_hour": 1.0, "arl0_frames": None, "arl0_bound_frames": 216_000}
    picture = packed_picture([[0, 1, 0], [1, 1, 0]])
    return {
        "schema": "edgekin.verify/1", "revision": "abc", "seed": 0, "revisions": ["abc"], "subject": "inspector",
        "machine": {"cpu": "A <CPU>", "cores": 2, "virtual": True, "kernel": "6"}, "bundle": "bundle-int8",
        "settings": {"false_alarms_per_hour": 1.0, "camera_hz": 60.0, "onset_s": [3.0, 8.0], "after_s": 20.0,
                     "runs": 20, "refine_frames": 30, "baseline_every": 3, "calibration_streams": 30, "stream_s": 60.0},
        "robot": {"name": "arm", "joints": ["a", "b"], "links": ["A", "B"], "views": 1, "height": 2, "width": 3},
        "healthy": healthy,
        "cases": [case("bend:1:2", 1, 9.0), case("bend:2:2", 2, 1200.0, missed=0.6), case("bend:1:5", 1, 3.0),
                  case("lost:2", 2, 2.0, missed=0.2, early=0.7), case("sagging", None, None, early=1.0, kind="bend")],
        "nuisances": [{"name": "tool:5", "must_alarm": True, "n": 20, "alarms": 19, "body_alarms": 1, "early": 0,
                       "named_right": 18, "named": 18, "median_frames": 4.0}],
        "isolation_top1": 0.9, "abstain_rate": 0.1,
        "confusion": {"classes": {"true": ["body damage", "camera moved"], "said": ["body damage", "no alarm"],
                                  "counts": [[20, 3], [0, 0]]},
                      "joints": {"true": ["a", "b"], "said": ["a", "b"], "counts": [[9, 1], [2, 8]]}},
        "auc": {"bend:1:2": {"inspector": 0.9}, "tool:5": {"inspector": 0.8}},
        "baselines": {"cusum": row(40.0), "always": row(None, alarms=14, hours=1e-4), "never": row(1200.0)},
        "versus": {"on_shared": row(8.0), "kept": True, "best": "cusum", "ratio": 5.0},
        "curves": {"cusum": [{"threshold": 1.0, "rate_per_hour": r, "median_frames": m, "missed": 0.0, "early": 0.0}
                             for r, m in ((0.0, 50.0), (4.0, 20.0), (30.0, None))]},
        "exec_us": {"p50": 250.0, "p99": 400.0, "p99_9": None, "max": 9000.0, "n": 9000},
        "example": {"case": "bend:1:5", "onset": 60, "alarm": 65, "camera_hz": 60.0, "first": 0, "shape": [2, 3],
                    "encoding": ENCODING, "statistic": [0.0] * 60 + [5.0] * 20, "residual": [0.01] * 80,
                    "pictures": [{"frame": f, "seen": picture, "expected": picture} for f in (0, 59, 60, 65)]},
    }


def test_a_line_is_a_kind_and_size_and_a_column_a_joint(result):
    table = verify_tables.by_size(result)
    assert table.header[:3] == ("damage", "a", "b")
    lines = {line[0]: line for line in table.rows}
    assert lines["bend 2"][1:4] == ("9", "missed", "30%")
    assert lines["bend 5"][1:3] == ("3", "-")
    # Of the runs that did not alarm too early most were missed.
    assert lines["lost"][1:5] == ("-", "missed", "20%", "70%")
    assert lines["sagging"][1:3] == ("-", "-")
    assert lines["bend 2"][-1] == "0.4 deg"


def test_sentences_say_the_bound_and_the_ratio_or_why_there_is_none(result):
    assert verify_tables.healthy(result) == ("no false alarm in 3 h of healthy motion (648,000 frames); with 95% "
                                             "confidence fewer than 1 an hour")
    assert "inspector 8 frames, the best baseline, cusum, 40: 5.00 times as long" in verify_tables.ratio(result)
    result["versus"]["kept"] = False
    assert verify_tables.ratio(result).endswith("inspector does not keep to 1 false alarm an hour")
    result["versus"] |= {"kept": True, "best": None}
    assert "no baseline keeps" in verify_tables.ratio(result)
    result["healthy"] |= {"alarms": 2, "by_class": {"camera moved": 2}, "arl0_frames": 324_000}
    assert "2 false alarms in 3 h" in verify_tables.healthy(result)
    assert "2 camera moved; one every 324,000 frames" in verify_tables.healthy(result)
    assert "p99.9" not in verify_tables.exec_us(result)


def test_the_page_holds_every_plot_and_nothing_from_elsewhere(result, tmp_path):
    from matplotlib.image import imread

    verify_page.write_verify_page(result, tmp_path / "verify.html")
    html = (tmp_path / "verify.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("data:image/png;base64,") == len(verify_page.PLOTS)
    assert "A &lt;CPU&gt;" in html
    for name in verify_page.PLOTS:
        picture = imread(tmp_path / f"{name}.png")
        assert picture.shape[0] > 100
        assert picture.std() > 0.01


def test_a_plot_without_content_is_left_out(result):
    result |= {"cases": [], "baselines": {}, "auc": {}}
    result["confusion"]["classes"]["counts"] = [[0, 0], [0, 0]]
    result["confusion"]["joints"]["counts"] = [[0, 0], [0, 0]]
    assert list(verify_page.draw(result)) == ["example"]
    assert verify_plots.example({**result, "example": {**result["example"], "alarm": None, "statistic": []}})
