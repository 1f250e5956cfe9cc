"""Chains compared in what pictures can tell of them, and not in what they cannot."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import RobotError
from edgekin.robot import load_robot
from edgekin.robot.chain import (
    MOST_TURN,
    Axes,
    axes_at_rest,
    camera_centre,
    chain_error,
    corrected,
    correction,
    corrections_to,
    perturbed,
    placed,
)
from edgekin.robot.transforms import axis_angle, pose


@pytest.fixture(scope="module")
def robot():
    return load_robot("arm4")


def with_origin(spec, number, change, before=False):
    joints = list(spec.joints)
    origin = joints[number].origin
    joints[number] = replace(joints[number], origin=change @ origin if before else origin @ change)
    return replace(spec, joints=tuple(joints))


def turning(spec):
    return [i for i, joint in enumerate(spec.joints) if joint.actuated]


def test_a_perturbation_has_the_size_asked_for_and_its_seed(robot):
    bent = perturbed(robot, np.radians(5), 0.01, seed=1)
    for joint, before in zip(bent.joints, robot.joints, strict=True):
        change = np.linalg.inv(before.origin) @ joint.origin
        angle = np.degrees(np.arccos((np.trace(change[:3, :3]) - 1) / 2))
        assert angle == pytest.approx(5 if joint.actuated else 0, abs=1e-5)
        assert np.linalg.norm(change[:3, 3]) == pytest.approx(0.01 if joint.actuated else 0)
    assert np.array_equal(bent.joints[0].origin, perturbed(robot, np.radians(5), 0.01, seed=1).joints[0].origin)
    assert not np.array_equal(bent.joints[0].origin, perturbed(robot, np.radians(5), 0.01, seed=2).joints[0].origin)


def test_a_turned_axis_is_told_in_degrees_and_a_shifted_one_in_metres(robot):
    second = turning(robot)[1]
    across = np.cross(robot.joints[second].axis, [0.3, 0.5, 0.8])
    across /= np.linalg.norm(across)
    turned = chain_error(robot, with_origin(robot, second, pose(rotation=axis_angle(across, np.radians(3)))))
    assert turned.angle_deg[1] == pytest.approx(3, abs=1e-6)
    assert turned.angle_deg[0] == pytest.approx(0, abs=1e-5)
    two_cameras = replace(robot, cameras=robot.cameras * 2)
    shifted = chain_error(two_cameras, with_origin(two_cameras, second, pose(0.007 * across)))
    assert shifted.distance_m[1] == pytest.approx(0.007)
    assert shifted.worst[0] == pytest.approx(0, abs=1e-5)
    assert 0 < shifted.reach_m < 0.02
    assert shifted.scale == 1.0


def test_moving_a_frame_along_and_about_its_own_axis_is_no_error(robot):
    second = turning(robot)[1]
    axis = robot.joints[second].axis
    change = pose(0.03 * axis, axis_angle(axis, 0.4))
    moved = with_origin(robot, second, change)
    moved = with_origin(moved, turning(robot)[2], np.linalg.inv(change), before=True)
    assert max(chain_error(robot, moved).worst) < 1e-5


def test_one_camera_does_not_tell_how_large_the_robot_is(robot):
    centre = np.linalg.inv(robot.base) @ np.append(camera_centre(robot), 1)
    joints = []
    for joint in robot.joints:
        about = centre[:3] if joint.parent == 0 else np.zeros(3)
        joints.append(replace(joint, origin=pose(about + 1.1 * (joint.origin[:3, 3] - about), joint.origin[:3, :3])))
    larger = replace(robot, joints=tuple(joints))
    error = chain_error(robot, larger)
    assert max(error.worst) < 1e-5
    assert error.scale == pytest.approx(1 / 1.1)
    both = (replace(robot, cameras=robot.cameras * 2), replace(larger, cameras=robot.cameras * 2))
    assert chain_error(*both).worst[1] > 0.01


def test_corrections_are_those_of_the_body_model(robot):
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")
    from edgekin.models import body_reference

    rows = np.random.default_rng(0).normal(scale=0.3, size=(len(robot.joints), 6))
    expected = body_reference.correction(torch.tensor(rows[0])).numpy()
    np.testing.assert_allclose(correction(rows[0]), expected, atol=1e-12)
    twin = body_reference.link_poses(robot, torch.tensor(rows.ravel()), torch.zeros(1, 4, dtype=torch.float64))
    found = axes_at_rest(corrected(robot, rows)).points
    np.testing.assert_allclose(found, [twin[0, robot.joints[i].child, :3, 3] for i in turning(robot)], atol=1e-12)


def test_a_chain_with_slides_is_refused(robot):
    first = turning(robot)[0]
    joints = list(robot.joints)
    joints[first] = replace(joints[first], kind="prismatic")
    with pytest.raises(RobotError, match="do not turn"):
        axes_at_rest(replace(robot, joints=tuple(joints)))


def test_corrections_to_a_chain_are_the_inverse_of_correcting(robot):
    other = perturbed(perturbed(robot, np.radians(100), 0.2, seed=3), np.radians(40), 0.1, seed=4)
    again = corrected(robot, corrections_to(robot, other))
    for joint, expected in zip(again.joints, other.joints, strict=True):
        assert np.allclose(joint.origin, expected.origin, atol=1e-9)


def test_a_half_turn_has_no_correction_and_becomes_a_little_less(robot):
    second = turning(robot)[1]
    axis = np.array([0.6, 0.0, 0.8])
    rows = corrections_to(robot, with_origin(robot, second, pose(rotation=axis_angle(axis, np.pi))))
    turned = 2 * np.arctan(np.linalg.norm(rows[second, :3]) / 2)
    assert turned == pytest.approx(MOST_TURN)
    assert abs(rows[second, :3] @ axis) == pytest.approx(np.linalg.norm(rows[second, :3]))


def test_joints_are_placed_on_the_lines_asked_for(robot):
    rng, count = np.random.default_rng(2), len(turning(robot))
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[1] = -axes_at_rest(robot).directions[1]
    points = rng.uniform(-0.3, 0.3, (count, 3))
    axes = axes_at_rest(placed(robot, Axes(directions, points)))
    assert np.allclose(axes.directions, directions, atol=1e-9)
    assert np.allclose(axes.points, points, atol=1e-9)


def test_joints_placed_where_they_are_stay(robot):
    again = placed(robot, axes_at_rest(robot))
    for joint, before in zip(again.joints, robot.joints, strict=True):
        assert np.allclose(joint.origin, before.origin, atol=1e-9)


def test_an_axis_that_is_anywhere_does_not_move_the_others(robot):
    last = turning(robot)[-1]
    axes = axes_at_rest(robot)
    away = Axes(axes.directions, axes.points + np.array([[0, 0, 0]] * last + [[0.1, 0.05, 0.1]]))
    error = chain_error(robot, placed(robot, away))
    assert error.scale == pytest.approx(1, abs=1e-6)
    assert np.allclose(error.distance_m[:-1], 0, atol=1e-6)
    assert error.distance_m[-1] > 0.02
