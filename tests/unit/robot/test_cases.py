"""Named damages: a user's file, and the standard cases of a robot."""

import pytest

from edgekin.errors import ConfigError
from edgekin.robot import load_robot, parse_events
from edgekin.robot.cases import check_case, read_cases, resolve, standard_cases
from edgekin.robot.catalogue import KINDS

GOOD = """damages:
  sagging:
    events: bend:3:{size}+encoder-drift:3:5@20
    sizes: [2, 5]
    onset_s: 10
  bumped:
    events: [camera-bump:2, "lost:4@1"]
"""


def read(tmp_path, text):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return read_cases(path)


def test_a_file_s_names_stand_for_its_events(tmp_path):
    cases = read(tmp_path, GOOD)
    assert sorted(cases) == ["bumped", "sagging", "sagging:2", "sagging:5"]
    assert cases["sagging"].events == parse_events("bend:3:2@10+encoder-drift:3:5@20")
    assert resolve("sagging:5@4+bumped+twist:1:9@2", cases) == parse_events(
        "camera-bump:2+lost:4@1+twist:1:9@2+bend:3:5@4+encoder-drift:3:5@14")
    assert cases["bumped"].classes == ("camera moved", "body damage")


@pytest.mark.parametrize(("text", "match"), [
    ("damage: {}", "Did you mean 'damages'"), ("damages: {a: {event: bend:1:2}}", "Did you mean 'events'"),
    ("damages: {a: {events: bent:1:2}}", "Did you mean 'bend'"),
    ("damages: {a: {events: bend:1:2, sizes: [1]}}", "sizes"),
    ("damages: {a: {events: 'bend:1:{size}'}}", "sizes"), ("damages: {bend: {events: bend:1:2}}", "name"),
    ("damages: {a: {events: 3}}", "events"), ("damages: {a: {events: bend:1:2, onset_s: -1}}", "out of range"),
    ("damages: {a: 1}", "mapping"), ("{}", "names no damages"), ("damages: [", "YAML")])
def test_a_file_that_makes_no_sense_is_one_clear_line(tmp_path, text, match):
    with pytest.raises(ConfigError, match=match) as caught:
        read(tmp_path, text)
    assert "my.yaml" in str(caught.value)


def test_an_unknown_link_or_name_is_said(tmp_path):
    cases = read(tmp_path, GOOD.replace("lost:4@1", "lost:knee@1"))
    with pytest.raises(ConfigError, match=r"my.yaml: bumped: .*'knee'"):
        check_case(load_robot("arm4"), cases["bumped"], "my.yaml")
    with pytest.raises(ConfigError, match="Did you mean 'sagging'"):
        resolve("saging@3", cases)


def test_standard_cases_cover_every_kind_and_joint():
    cases = standard_cases(load_robot("arm4"))
    assert {case.events[0].kind for case in cases} == set(KINDS)
    assert {c.events[0].target for c in cases if c.events[0].kind == "twist"} == {"1", "2", "3", "4"}
    assert len({case.name for case in cases}) == len(cases)
