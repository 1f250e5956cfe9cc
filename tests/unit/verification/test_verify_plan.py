"""Which cases and which units of work."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekin.errors import ConfigError
from edgekin.robot.cases import standard_cases
from edgekin.robot.catalogue import KINDS
from edgekin.verification.plan import CASE, HEALTHY, SINGLE, chosen_cases, example_of, is_damage, make_plan
from edgekin.verification.settings import VerifyConfig
from tests.small_arm import small_arm

IDENTITY = {"robot": "arm4"}


@pytest.fixture(scope="module")
def robot():
    return small_arm(24, 24)


def names(text, robot):
    return [case.name for case in chosen_cases(text, robot)]


def test_cases_are_asked_for_by_name_by_kind_or_by_joint(robot):
    everything = [case.name for case in standard_cases(robot)]
    assert names("all", robot) == everything
    assert names("bend:2", robot) == ["bend:2:2", "bend:2:5", "bend:2:10", "bend:2:20"]
    assert names("bend:2:5, lost:3,bend:2", robot) == ["bend:2:5", "lost:3", "bend:2:2", "bend:2:10", "bend:2:20"]
    assert names("camera-bump", robot) == ["camera-bump:1", "camera-bump:2", "camera-bump:5"]
    assert names("bend:2:7+camera-bump:1@4", robot) == ["bend:2:7+camera-bump:1@4"]
    quick = names("quick", robot)
    assert {name.partition(":")[0] for name in quick} == set(KINDS)
    assert [name for name in quick if name.startswith("bend")] == [f"bend:{j}:10" for j in (1, 2, 3, 4)]
    assert len(quick) < len(everything) / 3


def test_a_file_gives_its_cases_each_once(robot, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("damages:\n  sagging: {events: 'bend:3:{size}+encoder-drift:3:5@20', sizes: [2, 5]}\n"
                    "  light: {events: 'lighting:5'}\n")
    cases = chosen_cases(str(path), robot)
    assert [case.name for case in cases] == ["sagging:2", "sagging:5", "light"]
    assert [is_damage(case) for case in cases] == [True, True, False]


@pytest.mark.parametrize(("text", "match"), [
    ("bnd:2:5", "Did you mean 'bend'"), ("bend:9:5", "expected 1 to 4"), ("", "names none"),
    ("nowhere.yaml", "cannot be read"), ("bend:elbw:5", "Did you mean 'elbow'"), ("bend:2:500", "expected")])
def test_cases_that_do_not_exist_are_refused(robot, text, match):
    with pytest.raises(ConfigError, match=match) as caught:
        chosen_cases(text, robot)
    assert caught.value.hint


def test_a_file_with_an_unknown_link_is_refused_with_its_name(robot, tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("damages: {sagging: {events: 'bend:elbw:5'}}")
    with pytest.raises(ConfigError, match=r"my.yaml: sagging: .*'elbw'"):
        chosen_cases(str(path), robot)


def test_more_hours_and_runs_keep_what_is_finished_and_other_streams_do_not(robot):
    config = VerifyConfig(Path("b"), hours=0.1, cases="bend:2,tool:5", runs=7)
    plan = make_plan(config, robot, IDENTITY)
    keys = {unit.key for unit in plan.all_units}
    assert len(keys) == len(plan.all_units)
    more = make_plan(replace(config, hours=0.2, runs=12, cases="bend"), robot, IDENTITY)
    again = {unit.key for unit in more.all_units}
    kept = keys & again
    assert {unit.key for unit in plan.units if unit.kind == HEALTHY} < kept
    # Of seven runs the first five are a unit of their own, of twelve the first ten two.
    assert sum(unit.kind == CASE and unit.key in kept for unit in plan.units) == 4
    for other in (replace(config, seed=1), replace(config, camera_hz=30.0), replace(config, cameras=1)):
        assert not keys & {unit.key for unit in make_plan(other, robot, IDENTITY).all_units}
    assert not keys & {unit.key for unit in make_plan(config, robot, {"robot": "other"}).all_units}
    looser = make_plan(replace(config, false_alarms_per_hour=2.0), robot, IDENTITY)
    assert {unit.key for unit in plan.calibration} == {unit.key for unit in looser.calibration}
    assert plan.thresholds_key != looser.thresholds_key


def test_a_plan_says_how_much_it_is(robot):
    config = VerifyConfig(Path("b"), hours=3.0, cases="seized:2,bend:2:5,tool:5", runs=20, nuisance_runs=3)
    plan = make_plan(config, robot, IDENTITY)
    assert plan.frames(HEALTHY) == 648_000
    assert plan.frames(CASE) == (20 + 20 + 3) * 28 * 60
    assert "648,000 healthy frames" in plan.about
    # A seized joint shows in time alone; the healthy arm is one of the others.
    assert sorted(unit.case.name if unit.case else "" for unit in plan.units if unit.kind == SINGLE) == [
        "", "bend:2:5", "tool:5"]
    assert not make_plan(replace(config, baselines=False), robot, IDENTITY).calibration


def test_the_example_is_a_small_bend_in_the_middle_of_the_arm(robot):
    assert example_of(standard_cases(robot)).name == "bend:3:5"
    assert example_of(chosen_cases("tool:5,seized:1", robot)).name == "seized:1"
    assert example_of(chosen_cases("tool:5", robot)).name == "tool:5"


@pytest.mark.parametrize(("what", "value"), [("hours", 0.0), ("hours", float("nan")), ("hours", 5000.0), ("runs", 0),
                                             ("camera_hz", 0.0), ("cameras", 9), ("false_alarms_per_hour", 0.0),
                                             ("jobs", 0), ("seed", -1), ("nuisance_runs", -1)])
def test_settings_out_of_range_are_refused(what, value):
    with pytest.raises(ConfigError, match=f"--{what.replace('_', '-')} is .*expected"):
        VerifyConfig(Path("b"), **{what: value}).validated()
