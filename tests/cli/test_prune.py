"""edgekin prune end to end, small: a run that keeps budgets, the same again under a seed, resumed, and refused."""

import json
import shutil

import pytest

from edgekin.cli import cli
from edgekin.errors import ConfigError, EdgekinError, GateMissed
from edgekin.robot import save_robot
from tests.small_arm import small_arm

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

BUDGETS = ("--flash", "24KiB", "--ram", "8KiB", "--instructions", "400k", "--core", "m7")
TINY = ("--generations", 2, "--population", 4, "--steps", 4, "--jobs", 1)


def edgekin(*args):
    cli.main([str(a) for a in args], standalone_mode=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A runs folder with a pair, of the small arm in 24x24 px."""
    folder = tmp_path_factory.mktemp("prune")
    (folder / "robot").mkdir()
    save_robot(small_arm(24, 24), folder / "robot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIN_RUNS", str(folder / "runs"))
        patch.setenv("OMP_NUM_THREADS", "1")
        edgekin("train", "--robot", folder / "robot", "--size", "s", "--samples", 64, "--steps", 60, "--name", "pair")
    return folder / "runs"


@pytest.fixture
def pair(trained, tmp_path, monkeypatch):
    """A copy of the pair that a test may add to."""
    monkeypatch.setenv("EDGEKIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs" / "pair"


def pruned(pair, name, *more):
    """Prune; return the JSON without what is measured in seconds."""
    path = pair.parent / f"{name}.json"
    edgekin("prune", pair, *BUDGETS, *TINY, "--out", pair.parent / name, "--json", path, "--force", *more)
    return json.loads(path.read_text())


def timeless(content):
    return {**{k: v for k, v in content.items() if k != "seconds"},
            "history": [{k: v for k, v in entry.items() if k != "seconds"} for entry in content["history"]]}


def test_the_best_is_a_run_that_keeps_the_budgets_and_the_same_seed_gives_it_again(pair, capsys):
    from edgekin.training.run import load_run

    found = pruned(pair, "first")
    assert next(iter(found)) == "schema"
    assert found["schema"] == "edgekin.prune/1"
    assert found["budgets"] == {"flash_bytes": 24576, "ram_bytes": 8192, "instructions": 400000}
    best = found["best"]
    assert all(best[name] <= allowed for name, allowed in found["budgets"].items())
    assert {"scratch", "uniform", "magnitude"} <= set(found["controls"])
    assert all({"psnr_db", "steps"} <= set(control) for control in found["controls"].values())
    assert all(control["emulated"] == found["emulated"] for control in found["controls"].values())
    assert found["evaluated"] == 2 * 4
    run = load_run(pair.parent / "first")
    assert run.self_model.size == best["size"]
    assert run.metrics["psnr_db"] == pytest.approx(best["test"]["psnr_db"])
    assert run.body_model is not None
    folder = pair.parent / "first" / "evolution"
    assert {path.stem for path in folder.glob("*.png")} == {
        "front", "species", "genealogy", "quality-bytes", "quality-instructions"}
    assert len(list(folder.glob("*.ckpt"))) == 2
    assert "control" in capsys.readouterr().out or "scratch" in found["controls"]
    assert timeless(pruned(pair, "second", "--jobs", 2)) == timeless(found)


def test_a_resumed_search_ends_as_one_that_was_never_stopped_even_with_a_damaged_checkpoint(pair, capsys):
    whole = pruned(pair, "whole")
    out = pair.parent / "parts"
    edgekin("prune", pair, *BUDGETS, *TINY, "--generations", 1, "--out", out)
    shutil.copytree(pair.parent / "whole" / "evolution", out / "evolution", dirs_exist_ok=True)
    last = out / "evolution" / "generation-000002.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    resumed = pruned(pair, "parts", "--resume")
    assert "going back from generation 2" in capsys.readouterr().err
    assert timeless(resumed) == timeless(whole)


@pytest.mark.parametrize(("more", "kind", "says"), [
    (("--flash", "1KiB"), GateMissed, "the least that a model takes on m7"),
    (("--flash", "much"), ConfigError, "expected a size such as 64KiB"),
    (("--core", "m6"), ConfigError, "there is no core 'm6'"),
    (("--generations", "0"), ConfigError, "expected 1 to"),
    (("--scheduler", "tcp://127.0.0.1:9"), EdgekinError, "distributed"),
])
def test_what_cannot_be_done_is_said_in_a_line(pair, more, kind, says, monkeypatch):
    from edgekin.evolution import pool

    monkeypatch.setattr(pool, "CONNECT_S", 1)
    if says == "distributed":
        try:
            import distributed  # noqa: F401
        except ImportError:
            pass
        else:
            says = "no Dask scheduler answers at tcp://127.0.0.1:9"
    with pytest.raises(kind) as caught:
        edgekin("prune", pair, *BUDGETS, *TINY, *more)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_tools_the_front_is_predicted_and_that_is_said(pair, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    found = pruned(pair, "bare")
    assert found["emulated"] is False
    assert "apt-get install" in found["not_emulated"]
    assert "its figures are predicted" in capsys.readouterr().out


def test_a_search_that_is_not_there_cannot_be_resumed(pair):
    with pytest.raises(ConfigError, match="Begin without --resume"):
        edgekin("prune", pair, *BUDGETS, *TINY, "--resume", "--out", pair.parent / "none")
