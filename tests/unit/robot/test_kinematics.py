"""Where links are: our kinematics, in numpy and in C, against PyBullet's; and damage as a change of the URDF."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekin.errors import ConfigError, RobotError
from edgekin.robot import RobotOptions, apply_damage, link_poses, load_robot, parse_event
from edgekin.robot.export import export_urdf
from edgekin.robot.loading import pybullet_data_folder
from edgekin.robot.transforms import axis_angle, pose, quaternion, rotation_to_rpy, rpy_to_rotation

ROBOTS = ["arm4", "kuka_iiwa/model.urdf", "xarm/xarm6_robot.urdf", "franka_panda/panda.urdf"]
ANGLE = st.floats(-3.1, 3.1)


def draw(spec, n, seed=0):
    limits = spec.limits
    return limits[:, 0] + np.random.default_rng(seed).random((n, len(limits))) * (limits[:, 1] - limits[:, 0])


def bullet_agrees(spec, urdf=None, n=10):
    pytest.importorskip("pybullet", reason="needs PyBullet: pip install 'edgekin[train]'")
    from edgekin.sim.tinyrenderer import TinyRenderer

    q = draw(spec, n)
    poses = link_poses(spec, q)
    with TinyRenderer(spec, urdf) as bullet:
        for row, angles in enumerate(q):
            bullet.place(angles)
            for index, link in enumerate(spec.links):
                theirs = bullet.link_pose(link.name)
                if theirs is not None:
                    assert np.abs(theirs[:3, 3] - poses[row, index, :3, 3]).max() < 1e-6
                    assert np.abs(theirs[:3, :3] - poses[row, index, :3, :3]).max() < 2e-6


@pytest.mark.parametrize("name", ROBOTS)
def test_link_poses_are_those_of_pybullet(name):
    if name != "arm4" and pybullet_data_folder() is None:
        pytest.skip("needs pybullet_data: pip install 'edgekin[train]'")
    bullet_agrees(load_robot(name, RobotOptions(base=pose((0.1, -0.2, 0.3), rpy_to_rotation((0.3, -0.2, 1.0))))))


@given(ANGLE, ANGLE, ANGLE)
def test_rotations_are_orthonormal_and_survive_roll_pitch_yaw(roll, pitch, yaw):
    rotation = rpy_to_rotation((roll, pitch, yaw))
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.allclose(rpy_to_rotation(rotation_to_rpy(rotation)), rotation, atol=1e-7)
    x, y, z, w = quaternion(rotation)
    norm = np.linalg.norm((x, y, z))
    angle = 2 * np.arctan2(norm, w)
    assert np.allclose(axis_angle(np.array((x, y, z)) / norm if norm else (1, 0, 0), angle), rotation, atol=1e-7)


@pytest.mark.parametrize("q", [[0.0] * 3, [[0.0] * 5], [0, 0, np.nan, 0]])
def test_angles_of_the_wrong_shape_or_not_finite_are_refused(q):
    with pytest.raises(RobotError):
        link_poses(load_robot("arm4"), q)


@pytest.mark.parametrize("text", ["bend:2:20", "bend:1:30", "bend:forearm:-15", "short:2:40", "short:shoulder:10",
                                  "lost:4", "bend:hand:90", "twist:3:-40", "tool:7"])
def test_a_damaged_urdf_loads_in_pybullet_and_moves_as_ours(tmp_path, text):
    damaged = apply_damage(load_robot("arm4"), parse_event(text))
    bullet_agrees(damaged, export_urdf(damaged, tmp_path))


def test_the_damaged_text_alone_gives_the_damaged_robot():
    from edgekin.robot.loading import DATA
    from edgekin.robot.urdf import link_reader, parse_urdf

    for text in ("bend:2:20", "short:2:25", "lost:3", "twist:2:30", "tool:5"):
        spec = load_robot("arm4")
        damaged = apply_damage(spec, parse_event(text))
        again = parse_urdf(damaged.urdf, link_reader(DATA / "arm4", False))
        for one, two in zip(damaged.joints, again.joints, strict=True):
            assert np.allclose(one.origin, two.origin, atol=1e-9)
        for one, two in zip(damaged.links, again.links, strict=True):
            assert one.vertices.shape == two.vertices.shape
            assert np.allclose(one.vertices, two.vertices, atol=1e-6)


def test_a_bend_turns_the_link_and_all_downstream_about_its_near_end():
    spec = load_robot("arm4")
    bent = apply_damage(spec, parse_event("bend:2:20"))
    before, after = link_poses(spec, np.zeros(4))[0], link_poses(bent, np.zeros(4))[0]
    assert np.allclose(before[:3], after[:3])  # base, turret and the frame of the bent link stay
    turn = before[2] @ pose(rotation=axis_angle((0, 1, 0), np.radians(20))) @ np.linalg.inv(before[2])
    assert np.allclose(after[3:], turn @ before[3:])


def test_a_bend_across_a_link_that_its_joint_twists():
    spec = load_robot("arm4")
    bent = apply_damage(spec, parse_event("bend:1:20"))  # the yaw axis runs along the turret
    before, after = link_poses(spec, np.zeros(4))[0], link_poses(bent, np.zeros(4))[0]
    assert np.linalg.norm(before[2, :3, 3] - after[2, :3, 3]) > 0.02


def test_a_shorter_link_brings_the_next_joint_nearer():
    spec = load_robot("arm4")
    short = apply_damage(spec, parse_event("short:upper_arm:50"))
    assert short.joints[2].origin[2, 3] == pytest.approx(0.105)
    assert np.ptp(short.links[2].vertices[:, 2]) == pytest.approx(np.ptp(spec.links[2].vertices[:, 2]) / 2, rel=1e-5)


def test_lost_removes_the_link_and_all_downstream_from_sight():
    lost = apply_damage(load_robot("arm4"), parse_event("lost:3"))
    assert [len(link.triangles) > 0 for link in lost.links] == [True, True, True, False, False]
    with pytest.raises(ConfigError):
        apply_damage(load_robot("arm4"), parse_event("lost:9"))
