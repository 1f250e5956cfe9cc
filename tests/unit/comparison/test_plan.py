"""What is trained: one list for rows, curve and ablations, with nothing twice."""

from dataclasses import replace

import pytest

from edgekin.comparison.ablations import ABLATIONS, Ablation, Variant
from edgekin.comparison.contestants import Contestant, chosen, contestants
from edgekin.comparison.plan import make_plan
from edgekin.comparison.settings import PRESETS, CompareConfig
from edgekin.errors import ConfigError
from edgekin.models import MODELS
from edgekin.robot import load_robot, robot_sha256

pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
TWO = ("k3dgs", "neurokin-frames")


@pytest.fixture(scope="module")
def robot():
    spec = load_robot("arm4")
    return spec, robot_sha256(spec)


def plan_of(robot, preset="quick", models=TWO, **changes):
    config = CompareConfig(preset=preset, models=models, **changes).validated()
    return make_plan(config, PRESETS[preset], robot, chosen(models))


def test_every_model_of_the_registry_is_compared():
    assert set(MODELS) <= {c.model for c in contestants().values()}
    assert all(not c.missing for c in contestants().values())


def test_a_model_without_an_entry_is_taken_as_it_comes(monkeypatch):
    monkeypatch.setitem(MODELS, "brandnew", "edgekin.models.neurokin")
    assert contestants()["brandnew"] == Contestant("brandnew", "brandnew", "")


def test_quick_divides_its_seconds_and_the_budget_scales_them(robot):
    pieces = plan_of(robot).pieces
    assert sum(p.config.budget_s for p in pieces) == pytest.approx(PRESETS["quick"].whole_s, rel=0.01)
    halved = plan_of(robot, budget=0.5).pieces
    assert sum(p.config.budget_s for p in halved) == pytest.approx(PRESETS["quick"].whole_s / 2, rel=0.01)
    assert all(p.config.test_samples == PRESETS["quick"].test for p in pieces)


def test_full_trains_for_as_long_as_the_entries_say_and_twice_for_many_joints(robot):
    known, plan = contestants(), plan_of(robot, "full")
    assert {name: row.config.budget_s for name, row in plan.rows.items()} == {n: known[n].full_s for n in TWO}
    assert {p.config.budget_s for points in plan.curve.values() for p in points.values()} == {
        known[n].short_s for n in TWO}
    kuka = load_robot("arm4"), "other"
    many = replace(kuka[0], joints=tuple(j for j in kuka[0].joints) + tuple(
        replace(j, name=f"{j.name}{i}") for i in range(1) for j in kuka[0].joints if j.actuated))
    assert plan_of((many, "other"), "full").rows["k3dgs"].config.budget_s == 2 * known["k3dgs"].full_s


def test_curve_and_ablations_share_the_training_that_is_the_same(robot):
    for preset in PRESETS:
        plan = plan_of(robot, preset)
        most = PRESETS[preset].ablated
        for bars in plan.ablations:
            if not bars.ablation.variants[0].settings:
                assert bars.pieces[0][1].key == plan.curve[bars.ablation.model][most].key
        keys = [p.key for p in plan.pieces]
        assert len(keys) == len(set(keys))
        assert {n: p.config.samples for n, p in plan.curve["neurokin-frames"].items()} == {
            n: n for n in PRESETS[preset].points}
    assert plan.curve["neurokin-frames"][10].config.batch == 10  # fewer samples than a batch are one batch


def test_an_ablation_that_ends_at_another_contestant_shares_its_training(robot):
    plan = plan_of(robot, "full", models=("neurokin", "neurokin-frames"))
    distillation = next(bars for bars in plan.ablations if bars.ablation.name == "distillation")
    alone = plan.curve["neurokin-frames"][PRESETS["full"].ablated]
    # The same settings but for the seconds, which are each entry's own.
    taught, untaught = (piece.config for _, piece in distillation.pieces)
    assert (taught.teacher, untaught.teacher) == ("body", None)
    assert replace(untaught, budget_s=None, name=None) == replace(alone.config, budget_s=None, name=None)
    quick = plan_of(robot, models=("neurokin", "neurokin-frames"))
    distillation = next(bars for bars in quick.ablations if bars.ablation.name == "distillation")
    assert distillation.pieces[1][1].key == quick.curve["neurokin-frames"][PRESETS["quick"].ablated].key


def test_a_key_changes_with_whatever_changes_the_result(robot):
    base = {p.key for p in plan_of(robot, "full").pieces}
    assert base == {p.key for p in plan_of(robot, "full").pieces}
    assert base > {p.key for p in plan_of(robot, "full", models=("k3dgs",)).pieces}
    for other in (plan_of(robot, "full", seed=1), plan_of(robot, "full", budget=0.5), plan_of((robot[0], "b"), "full")):
        assert not base & {p.key for p in other.pieces}


def test_ablations_that_cannot_be_done_are_left_out_and_said(robot, monkeypatch):
    odd = (Ablation("odd", "neurokin-frames", "?", (Variant("as it is", {}), Variant("x", {"no_such_setting": 1}))),
           Ablation("big", "neurokin-frames", "?", (Variant("as it is", {}), Variant("x", {"size": "xxl"}))))
    monkeypatch.setattr("edgekin.comparison.plan.ABLATIONS", (*ABLATIONS, *odd))
    plan = plan_of(robot, models=("neurokin-frames",))
    assert {bars.ablation.model for bars in plan.ablations} == {"neurokin-frames"}
    said = "\n".join(plan.left_out)
    assert "ablation anisotropy, k3dgs: k3dgs is not compared" in said
    assert "no_such_setting" in said
    assert "no size 'xxl'" in said


def test_the_first_variant_of_an_ablation_is_the_model_as_it_is_and_quick_keeps_the_last():
    for ablation in ABLATIONS:
        assert ablation.variants[0].settings == {}
        assert ablation.first(2) == (ablation.variants[0], ablation.variants[-1])
        assert ablation.first(None) == ablation.variants
        assert len({v.label for v in ablation.variants}) == len(ablation.variants)


def test_quick_trains_only_the_row_of_a_slow_model_and_says_so(robot, monkeypatch):
    monkeypatch.setattr("edgekin.comparison.contestants._TABLE",
                        tuple(replace(c, slow=c.name == "k3dgs") for c in contestants().values()))
    quick, full = plan_of(robot), plan_of(robot, "full")
    assert list(quick.rows) == ["k3dgs", "neurokin-frames"]
    assert list(quick.curve) == ["neurokin-frames"]
    assert {bars.ablation.model for bars in quick.ablations} == {"neurokin-frames"}
    assert any(line.startswith("the curve of k3dgs: it draws too slowly") for line in quick.left_out)
    assert set(full.curve) == set(TWO)


@pytest.mark.parametrize(("change", "match"), [
    ({"preset": "quik"}, "preset is 'quik'"), ({"budget": 0.0}, "budget is 0"), ({"seed": -1}, "seed is -1"),
    ({"jobs": 0}, "jobs is 0")])
def test_values_that_cannot_be_used_are_refused(change, match):
    with pytest.raises(ConfigError, match=match):
        CompareConfig(**change).validated()
