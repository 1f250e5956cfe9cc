"""The inspector from Python: its settings, its errors, and what it names on the arm whose model is exact."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from edgekin._ek import lib

from edgekin.compile.weights import write_weights
from edgekin.errors import BundleError, RuntimeFault
from edgekin.robot import catalogue
from edgekin.runtime.changed import ChangedBody
from edgekin.runtime.engine import Engine
from edgekin.runtime.findings import SIGNS, Drift, said_of
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import CLASSES, SCHEMA, InspectorConfig
from tests.exact_arm import Stretch, taught

DEGREE = np.pi / 180
BEFORE = 60  # healthy frames before anything happens


@pytest.fixture(scope="module")
def config(world):
    return taught(world)


@pytest.fixture
def inspector(world, config):
    with Inspector(world.model, config) as inspector:
        yield inspector


def watch(inspector, stretch):
    """Return the finding behind the last frame of a stretch."""
    for q, sent, masks in zip(stretch.joint_pos, stretch.commanded, stretch.masks, strict=True):
        inspector.judge(q, masks, sent)
    return inspector.finding


def begin(world, inspector, seed=0):
    """Show a second of healthy motion."""
    world.restart(seed)
    assert (inspector.finding.alarm, inspector.finding.frames, str(inspector.finding.named)) == ("", 0, "nothing")
    found = watch(inspector, world.show(BEFORE))
    assert (found.alarm, found.sign, found.alarm_frame, found.frames) == ("", "", 0, BEFORE)


# ---- settings


def test_settings_survive_json(config):
    content = json.loads(json.dumps(config.to_json()))
    assert content["schema"] == SCHEMA
    again = InspectorConfig.from_json({**content, "calibration": {"hours": 1.0}})
    for field in fields(InspectorConfig):
        before, after = getattr(config, field.name), getattr(again, field.name)
        assert type(before) is type(after)
        assert np.array_equal(before, after) if isinstance(before, np.ndarray) else before == after, field.name
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None)


def test_names_are_those_of_the_library_and_of_the_catalogue():
    assert CLASSES[1:] == catalogue.CLASSES
    assert [CLASSES.index(name) for name in ("body damage", "sensor fault")] == [lib.EK_CLASS_BODY, lib.EK_CLASS_SENSOR]
    assert [SIGNS.index(name) for name in ("deviation", "stuck")] == [lib.EK_SIGN_DEVIATION, lib.EK_SIGN_STUCK]


def test_another_rate_changes_what_is_counted_in_frames(config):
    twice = config.at(2 * config.camera_hz)
    assert (twice.patience_frames, twice.lag_prior) == (2 * config.patience_frames, 2 * config.lag_prior)
    assert (twice.threshold, twice.frozen_frames) == (config.threshold, config.frozen_frames)


@pytest.mark.parametrize("change", [
    {"prior": [0.1]}, {"prior": "high"}, {"threshold": "high"}, {"threshold": None}, {"handicap": [0.0] * 3},
    {"centroids": [[0.0] * 3]}, {"centroids": [0.0] * 4}, {"tracking_rad": [0.1] * 5}, {"own_axis": [2**40] * 4},
    {"joints": ["a"]}, {"links": []}, {"deviations": [{"kind": 0, "of": 1, "axis": [0.0, 1.0]}]},
    {"deviations": [{"kind": 0}]}, {"hypotheses": [{"what": "bend"}]},
    {"hypotheses": [{"what": "bend", "part": "hand", "deviations": [0, 1, 2, 3], "kind": 1, "number": 0}]},
], ids=lambda change: "-".join(change))
def test_malformed_settings_are_refused(config, change):
    with pytest.raises(BundleError, match=r"the inspector.s settings .*calibrate-detector"):
        InspectorConfig.from_json({**config.to_json(), **change})


def test_settings_that_lack_a_field_are_refused(config):
    for field in fields(InspectorConfig):
        content = config.to_json()
        del content[field.name]
        with pytest.raises(BundleError, match=field.name):
            InspectorConfig.from_json(content)


def test_settings_out_of_range_are_refused(world, config):
    for change in ({"threshold": -1.0}, {"floor": float("nan")}, {"patience_frames": 0},
                   {"links": (*config.links, "tail"), "edge_px": np.ones(len(config.links) + 1)},
                   {"own_axis": np.full(4, 99, np.int32)}, {"edge_px": np.full(len(config.links), -1.0)}):
        with pytest.raises(BundleError, match="do not fit the body model, or are out of range"):
            Inspector(world.model, replace(config, **change))
    Inspector(world.model, config).close()  # none of them kept the body


# ---- whom it may look at, and when


def test_a_decoder_has_no_links(config, graph):
    with Engine(write_weights(graph)) as engine, pytest.raises(RuntimeFault, match="has no links that could deviate"):
        Inspector(engine, config)


def test_a_body_has_one_inspector_and_is_given_back(world, config):
    q = np.array([0.3, -0.4, 0.5, 0.2])
    world.model.run(q)
    before = world.model.logits()
    with Inspector(world.model, config) as inspector:
        with pytest.raises(RuntimeFault, match="another inspector looks at this engine's body"):
            Inspector(world.model, config)
        begin(world, inspector)
        world.deviate({4: 5 * DEGREE})
        watch(inspector, world.show(10))
    world.model.run(q)
    assert np.array_equal(world.model.logits(), before)
    Inspector(world.model, config).close()


def test_what_is_closed_says_so(world, config):
    masks = world.picture(np.zeros(4))
    inspector = Inspector(world.model, config)
    inspector.close()
    inspector.close()
    with pytest.raises(RuntimeFault, match="the inspector is closed"):
        inspector.judge(np.zeros(4), masks)
    with Engine(world.blob) as engine:
        inspector = Inspector(engine, config)
    for use in (lambda: inspector.judge(np.zeros(4), masks), inspector.reset, inspector.close):
        with pytest.raises(RuntimeFault, match="the engine is closed"):
            use()


def test_frames_that_cannot_be_are_refused(world, inspector):
    masks = world.picture(np.zeros(4))
    for q, shown, sent in ((np.zeros(3), masks, None), (np.zeros(4), masks, np.zeros(5)), (np.zeros(4), masks[0], None),
                           (np.zeros(4), masks.astype(np.int32), None), (np.zeros(4), masks[:, :, :-1], None)):
        with pytest.raises(RuntimeFault, match="expected"):
            inspector.judge(q, shown, sent)
    for bad in (np.nan, np.inf, 1e5):
        for q, sent in ((np.array([0, bad, 0, 0]), None), (np.zeros(4), np.array([0, 0, 0, bad]))):
            with pytest.raises(RuntimeFault, match="the inspector cannot judge this frame"):
                inspector.judge(q, masks, sent)
    assert inspector.update(np.zeros(4), masks).frames == 1


# ---- what it names


@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_arm_raises_nothing(world, inspector, seed):
    begin(world, inspector, seed)
    found = watch(inspector, world.show(600))
    assert (found.alarm, found.sign, found.alarm_frame, found.frames) == ("", "", 0, 660)
    assert found.named.evidence == inspector.evidence < 10
    assert abs(found.misfit_z - inspector.misfit_z) == 0
    assert inspector.fitted <= inspector.misfit
    assert np.abs(found.offset_rad).max() < 0.2 * DEGREE
    assert (np.abs(found.drift_rad) < 4 * np.array(found.drift_spread_rad)).all()
    drifts = inspector.drifts()
    assert [one.joint for one in drifts] == list(inspector.config.joints)
    assert np.radians([one.deg for one in drifts]) == pytest.approx(found.drift_rad)
    assert np.radians([one.spread_deg for one in drifts]) == pytest.approx(found.drift_spread_rad)
    inspector.reset()
    assert inspector.drifts() == ()


def test_what_is_said_of_encoders_is_sure_of_them():
    off, right = Drift("elbow", 0.5, 0.1), Drift("wrist", -0.2, 0.15)
    assert (off.sure, right.sure) == (True, False)
    assert off.interval == pytest.approx((0.304, 0.696))
    assert said_of([off, right]) == "encoders, by pictures of many poses: elbow +0.50 +- 0.20 deg too much"
    assert said_of([right]) == "encoders, by pictures of many poses: none is off by more than 0.5 deg"
    assert said_of([]) == ""


#: Index of a deviation (four of each link from the turret on, then three of each camera), its size, what it is called.
DEVIATIONS = [
    (0, 5.0, "body damage", "twist", "turret"),
    (1, -5.0, "body damage", "bend", "turret"),
    (4, 5.0, "body damage", "bend", "upper_arm"),
    (5, 6.0, "body damage", "twist", "upper_arm"),
    (8, -4.0, "body damage", "bend", "forearm"),
    (10, 5.0, "body damage", "bend", "forearm"),
    (12, 8.0, "body damage", "bend", "hand"),
    (7, -10.0, "body damage", "short", "upper_arm"),
    (11, -10.0, "body damage", "short", "forearm"),
    (16, 2.0, "camera moved", "camera-bump", "camera 1"),
    (17, -1.0, "camera moved", "camera-bump", "camera 1"),
    (17, 6.0, "camera moved", "camera-bump", "camera 1"),
    (16, -7.0, "camera moved", "camera-bump", "camera 1"),
    (4, 25.0, "body damage", "bend", "upper_arm"),
    (21, 3.0, "camera moved", "camera-bump", "camera 2"),
]


@pytest.mark.parametrize(("index", "size", "alarm", "what", "part"), DEVIATIONS,
                         ids=[f"{what}-{part}-{size}" for _, size, _, what, part in DEVIATIONS])
def test_a_deviation_is_named_with_its_size(world, inspector, index, size, alarm, what, part):
    """Degrees within 0.5, percent within 1; the alarm comes within two seconds."""
    begin(world, inspector, 1)
    world.deviate({index: size / 100 if what == "short" else size * DEGREE})
    found = watch(inspector, world.show(300))
    assert (found.alarm, found.sign, found.named.what, found.named.part) == (alarm, "deviation", what, part)
    assert BEFORE < found.alarm_frame <= BEFORE + 120
    assert found.named.unit == ("%" if what == "short" else "deg")
    assert abs(found.named.size - abs(size)) < (1.0 if what == "short" else 0.5)
    assert found.named.interval[0] < found.named.size < found.named.interval[1]
    assert found.named.evidence > inspector.config.threshold
    assert f"{what} of {part} {found.named.size:.1f} +- " in str(found.named)


def test_a_link_that_has_grown_carries_something(world, inspector):
    begin(world, inspector)
    world.deviate({15: 0.3})
    found = watch(inspector, world.show(240))
    assert (found.alarm, found.named.part) == ("occlusion/appearance", "hand")


@pytest.mark.parametrize(("index", "part"), [(1, "turret"), (4, "upper_arm"), (8, "forearm")])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_link_that_turns_far_is_found_at_once_and_named(world, inspector, index, part, sign):
    begin(world, inspector)
    world.deviate({index: sign * 20 * DEGREE})
    found = watch(inspector, world.show(60))
    assert (found.alarm, found.sign) == ("body damage", "deviation")
    assert (found.named.part, found.named.undecided) == (part, False)
    assert found.alarm_frame <= BEFORE + 8
    assert found.named.size == pytest.approx(20.0, abs=4.0)


@pytest.mark.parametrize("link", [2, 3, 4])
def test_a_lost_link_is_named(world, inspector, link):
    begin(world, inspector)
    world.lose(link)
    found = watch(inspector, world.show(60))
    assert (found.alarm, found.sign, found.named.what) == ("body damage", "lost", "lost")
    assert (found.named.part, found.named.unit) == (world.robot.links[link].name, "")
    assert found.alarm_frame <= BEFORE + 10


@pytest.mark.parametrize("joint", range(4))
def test_an_encoder_that_lies_is_named(world, inspector, joint):
    begin(world, inspector)
    seen = world.show(120)
    seen.joint_pos[:, joint] += 3 * DEGREE
    found = watch(inspector, seen)
    assert (found.alarm, found.sign) == ("encoder fault", "offset")
    assert (found.named.what, found.named.part) == ("offset", world.robot.actuated[joint].name)
    assert found.offset_rad[joint] == pytest.approx(3 * DEGREE, abs=0.2 * DEGREE)


@pytest.mark.parametrize("joint", range(4))
def test_an_encoder_that_leaps_needs_no_motion_to_be_named(world, inspector, joint):
    begin(world, inspector)
    seen = world.show(8)
    seen.joint_pos[2:, joint] += 5 * DEGREE
    found = watch(inspector, seen)
    assert (found.alarm, found.sign, found.alarm_frame) == ("encoder fault", "offset", BEFORE + 5)
    assert found.named.part == world.robot.actuated[joint].name


def test_an_arm_that_begins_off_its_command_is_not_said_to_have_leapt(world, inspector):
    world.restart(0)
    still = world.show(1)
    seen = Stretch(*(np.repeat(column, 30, axis=0) for column in vars(still).values()))
    seen.joint_pos[:] += 0.1 * DEGREE * np.random.default_rng(0).standard_normal(seen.joint_pos.shape)
    seen.joint_pos[:, 1] += 5 * DEGREE
    assert watch(inspector, seen).alarm == ""


def test_one_reading_that_leaps_is_no_fault(world, inspector):
    begin(world, inspector)
    seen = world.show(60)
    seen.joint_pos[2, 1] += 5 * DEGREE
    assert watch(inspector, seen).alarm == ""


@pytest.mark.parametrize("joint", range(4))
def test_a_joint_that_stands_is_named(world, inspector, joint):
    begin(world, inspector)
    commanded = world.move(240)
    true = commanded.copy()
    true[:, joint] = true[0, joint]
    found = watch(inspector, Stretch(world.measured(true), commanded, np.stack([world.picture(q) for q in true])))
    assert (found.alarm, found.sign) == ("body damage", "stuck")
    assert (found.named.what, found.named.part) == ("stuck", world.robot.actuated[joint].name)


def test_a_frozen_camera_is_named(world, inspector):
    begin(world, inspector)
    seen = world.show(120)
    found = watch(inspector, replace(seen, masks=np.repeat(seen.masks[:1], 120, axis=0)))
    assert (found.alarm, found.sign, str(found.named)) == ("sensor fault", "frozen", "frozen")
    assert found.alarm_frame > BEFORE + inspector.config.frozen_frames


def test_stale_joint_angles_are_named(world, inspector):
    begin(world, inspector)
    seen = world.show(120)
    found = watch(inspector, replace(seen, joint_pos=np.repeat(seen.joint_pos[:1], 120, axis=0)))
    assert (found.alarm, found.sign, str(found.named)) == ("sensor fault", "stale", "stale")


def test_a_camera_and_an_arm_that_stand_still_are_no_fault(world, inspector):
    """Nothing is commanded, so nothing has to change: not even a bit of picture or angles."""
    begin(world, inspector)
    seen = world.show(1)
    found = watch(inspector, Stretch(*(np.repeat(column, 200, axis=0) for column in vars(seen).values())))
    assert (found.alarm, found.frames) == ("", 260)


def test_pictures_that_lag_are_named(world, inspector):
    begin(world, inspector, 1)
    path = world.move(482)
    late = np.stack([world.picture(q) for q in path[:-2]])
    found = watch(inspector, Stretch(world.measured(path[2:]), path[2:], late))
    assert (found.alarm, found.sign, found.named.what, found.named.unit) == ("sensor fault", "lag", "lag", "frames")
    assert abs(found.named.size - 2) < 0.5


@pytest.mark.parametrize("seed", range(8))
def test_pictures_that_lag_by_ever_other_times_are_no_damage(world, inspector, seed):
    begin(world, inspector, seed)
    path, most = world.move(603), 3
    then = np.arange(most, len(path)) - np.random.default_rng(seed).integers(0, most + 1, len(path) - most)
    late = np.stack([world.picture(q) for q in path[then]])
    found = watch(inspector, Stretch(world.measured(path[most:]), path[most:], late))
    assert (found.alarm, found.sign, found.named.what) == ("sensor fault", "lag", "lag")


@pytest.mark.parametrize("on", [True, False], ids=["beside", "before"])
def test_something_that_stands_beside_or_before_the_arm_is_no_damage(world, inspector, on):
    begin(world, inspector)
    seen = world.show(120)
    bits = np.unpackbits(seen.masks, axis=-1)
    bits[:, 0, 20:50, slice(0, 24) if on else slice(32, 48)] = on
    found = watch(inspector, replace(seen, masks=np.packbits(bits, axis=-1)))
    assert (found.alarm, found.sign, str(found.named)) == ("occlusion/appearance", "unexplained", "unexplained")


def test_what_one_pose_cannot_tell_is_undecided_until_the_arm_moves(world, inspector):
    """The turret bent, or the upper arm, whose joint is close by: with one pose both make the picture."""
    begin(world, inspector, 1)
    world.deviate({2: 2 * DEGREE})
    q = world.move(1)[0]
    still = np.repeat(q[None], 90, axis=0)
    found = watch(inspector, Stretch(world.measured(still), still, np.stack([world.picture(q) for _ in range(90)])))
    assert (found.alarm, found.named.undecided) == ("body damage", True)
    assert {found.named.part, found.named.rival} == {"upper_arm", "turret"}
    assert f", or of {found.named.rival}" in str(found.named)
    moved = watch(inspector, world.show(600))
    assert (moved.alarm_frame, moved.named.part, moved.named.undecided) == (found.alarm_frame, "turret", False)


# ---- alarms, and what is healthy


def test_an_alarm_stands_until_it_is_reset(world, inspector):
    begin(world, inspector)
    world.deviate({16: 2 * DEGREE})
    first = watch(inspector, world.show(60))
    world.deviate({})
    assert watch(inspector, world.show(60)).alarm_frame == first.alarm_frame
    inspector.reset()
    begin(world, inspector)


def test_what_is_accepted_is_healthy_from_then_on(world, inspector):
    begin(world, inspector)
    sizes = np.zeros(len(world.deviations))
    sizes[8], sizes[7] = 10 * DEGREE, -0.05
    world.deviate(dict(enumerate(sizes)))
    assert watch(inspector, world.show(60)).alarm == "body damage"
    inspector.accept(ChangedBody(sizes, np.zeros(4)))
    assert watch(inspector, world.show(300)).alarm == ""
    world.deviate({8: 10 * DEGREE, 7: -0.05, 12: 10 * DEGREE})
    found = watch(inspector, world.show(240))
    assert (found.named.what, found.named.part) == ("bend", "hand")
    assert abs(found.named.size - 10) < 0.7
    inspector.accept(None)
    world.deviate({})
    assert watch(inspector, world.show(300)).alarm == ""


def test_without_a_link_that_is_lost_the_body_is_healthy_until_it_is_there_again(world, inspector):
    begin(world, inspector)
    hand = world.robot.actuated[3].child
    world.lose(hand)
    inspector.accept(ChangedBody(np.zeros(len(world.deviations)), np.zeros(4), lost=hand))
    assert watch(inspector, world.show(300)).alarm == ""
    world.deviate({4: 10 * DEGREE})
    found = watch(inspector, world.show(60))
    assert (found.named.what, found.named.part) == ("bend", "upper_arm")
    inspector.accept(ChangedBody(np.zeros(len(world.deviations)), np.zeros(4), lost=hand))
    world.restart(7)
    assert watch(inspector, world.show(120)).alarm == "occlusion/appearance"
    inspector.accept(None)
    assert watch(inspector, world.show(300)).alarm == ""


def test_a_camera_that_is_dark_is_no_lost_robot(world, inspector):
    begin(world, inspector)
    dark = world.show(60)
    dark.masks[:] = 0
    assert watch(inspector, dark).alarm == "sensor fault"  # the same picture, while joints move
    inspector.reset()
    begin(world, inspector)
    world.lose(world.robot.actuated[0].child)  # its base is seen still
    found = watch(inspector, world.show(60))
    assert (found.named.what, found.named.part) == ("lost", world.robot.links[world.robot.actuated[0].child].name)


def test_only_so_much_can_be_accepted(world, inspector):
    n = len(world.deviations)
    for sizes, match in ((np.zeros(n - 1), "sizes of deviations, expected"), (np.full(n, 2.0), "a deviation of 2"),
                         (np.full(n, np.nan), "a deviation of nan")):
        with pytest.raises(RuntimeFault, match=match):
            inspector.accept(ChangedBody(sizes, np.zeros(4)))
    for absent in (-1, len(world.robot.links)):
        with pytest.raises(RuntimeFault, match=f"a link of number {absent}, which the robot has not"):
            inspector.accept(ChangedBody(np.zeros(n), np.zeros(4), lost=absent))


def test_without_commands_an_encoder_that_lies_looks_like_a_bend(world, inspector):
    begin(world, inspector)
    seen = world.show(240)
    for q, masks in zip(seen.joint_pos + np.array([0, 4 * DEGREE, 0, 0]), seen.masks, strict=True):
        found = inspector.update(q, masks)
    assert (found.alarm, found.named.what, found.named.part) == ("body damage", "bend", "upper_arm")
    assert abs(found.named.size - 4) < 0.5


def test_a_look_shows_what_the_last_picture_said(world, inspector):
    begin(world, inspector)
    world.deviate({10: 4 * DEGREE})
    watch(inspector, world.show(3))
    information, score, sizes = inspector.look()
    assert np.array_equal(information, information.T)
    assert np.linalg.eigvalsh(information).min() > -1e-3 * np.linalg.eigvalsh(information).max()
    assert abs(sizes[10] - 4 * DEGREE) < 1.5 * DEGREE
    assert score[10] == pytest.approx(information[10] @ sizes, rel=0.5)


def test_an_offset_that_is_accepted_is_no_fault_and_another_is(world, inspector):
    begin(world, inspector)
    off = np.array([0, 0, 3 * DEGREE, 0])
    sizes = np.zeros(len(world.deviations))
    sizes[inspector.config.own_axis[2]] = -3 * DEGREE
    seen = world.show(60)
    assert watch(inspector, replace(seen, joint_pos=seen.joint_pos + off)).alarm == "encoder fault"
    inspector.accept(ChangedBody(sizes, off))
    seen = world.show(300)
    assert watch(inspector, replace(seen, joint_pos=seen.joint_pos + off)).alarm == ""
    assert watch(inspector, world.show(60)).alarm == "encoder fault"  # it reads right again
    inspector.accept(None)
    assert watch(inspector, world.show(300)).alarm == ""
    for wrong, match in ((off[:3], "3 offsets of encoders, expected 4"), (20 * off, "a deviation of 1.04")):
        with pytest.raises(RuntimeFault, match=match):
            inspector.accept(ChangedBody(sizes, wrong))
