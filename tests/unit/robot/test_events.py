"""Events as text, and the table behind them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekin.errors import ConfigError
from edgekin.robot import Event, apply_damage, load_robot, parse_event, parse_events
from edgekin.robot.catalogue import CLASSES, KINDS
from edgekin.robot.events import joined


@st.composite
def events(draw):
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    size = draw(st.floats(1e-3, kind.most, allow_subnormal=False)) if kind.number else 0.0
    size = -size if kind.signed and draw(st.booleans()) else size
    return Event(kind.name, draw(st.sampled_from(["1", "elbow", "hand"])) if kind.target else "",
                 float(f"{size:.12g}"), float(f"{draw(st.floats(0, 1e6, allow_subnormal=False)):.12g}"))


@given(st.lists(events(), max_size=4))
def test_what_is_written_is_read_back_in_order_of_time(many):
    assert parse_events(joined(many)) == tuple(sorted(many, key=lambda event: event.onset_s))


def test_damage_is_read_with_its_onset():
    assert parse_event("bend:2:20@15") == Event("bend", "2", 20.0, 15.0)
    assert parse_event("seized:elbow").onset_s == 0
    assert parse_event("camera-bump:2@3") == Event("camera-bump", "", 2.0, 3.0)
    assert parse_event("frozen-camera") == Event("frozen-camera")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_an_example_and_default_sizes_that_can_be_parsed(name):
    kind = KINDS[name]
    assert parse_event(kind.example).kind == name
    assert bool(kind.sizes) == bool(kind.number)
    assert all(0 < size <= kind.most for size in kind.sizes)
    assert kind.expected in CLASSES
    assert kind.damage <= kind.must_alarm  # a damage must always be found


@pytest.mark.parametrize("text", ["", "bent:2:20", "bend:2", "bend:2:x", "bend:2:20@-1", "bend:2:0", "bend::20",
                                  "lost:2:3", "short:2:100", "short:2:-5", "encoder-bias:1:nan", "bend:2:20@soon",
                                  "occlusion:1:2", "tool:-3", "frozen-camera:1", "bend:2:5+", "backlash:1:-2"])
def test_damage_that_makes_no_sense_is_refused(text):
    with pytest.raises(ConfigError) as caught:
        parse_events(text or " + ")
    assert caught.value.hint


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        many = parse_events(text)
    except ConfigError as error:
        many = ()
        said = str(error)
    else:
        said = ""
    assert "\n" not in said.replace(repr(text), "")
    assert parse_events(joined(many)) == many


def test_what_was_probably_meant_is_said():
    for text, meant in (("camera_bump:2", "camera-bump"), ("encoder-bais:1:2", "encoder-bias")):
        with pytest.raises(ConfigError) as caught:
            parse_event(text)
        assert f"Did you mean {meant!r}?" == caught.value.hint
    with pytest.raises(ConfigError) as caught:
        apply_damage(load_robot("arm4"), parse_event("bend:foream:20"))
    assert caught.value.hint == "Did you mean 'forearm'?"


def test_damage_names_what_the_robot_has():
    with pytest.raises(ConfigError, match="expected 1 to 4"):
        apply_damage(load_robot("arm4"), parse_event("bend:5:20"))
    with pytest.raises(ConfigError, match="does not have"):
        apply_damage(load_robot("arm4"), parse_event("bend:knee:20"))
    with pytest.raises(ConfigError, match="does not change the body"):
        apply_damage(load_robot("arm4"), parse_event("seized:2"))
