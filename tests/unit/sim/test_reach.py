"""A controller that reaches: exact with the arm's own body, off by what the body is off without it."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.robot import load_robot, parse_events
from edgekin.robot.damage import apply_damage
from edgekin.sim.reach import reach, tip, tip_error_m, tip_of


@pytest.fixture(scope="module")
def robot():
    return load_robot("arm4")


def bent(robot, what):
    return apply_damage(robot, parse_events(what)[0])


def test_the_tip_is_the_far_end_of_the_last_link(robot):
    link, vertex = tip_of(robot)
    assert robot.links[link].name == robot.links[robot.actuated[-1].child].name
    at = tip(robot, (link, vertex))(np.zeros((1, 4)))[0]
    assert np.linalg.norm(at) > 0.4  # stretched out
    hidden = replace(robot, links=tuple(replace(one, vertices=one.vertices[:0], triangles=one.triangles[:0])
                                        if i == link else one for i, one in enumerate(robot.links)))
    assert tip_of(hidden)[0] != link


def test_with_its_own_body_the_arm_reaches_what_it_can(robot):
    mine = tip(robot, tip_of(robot))
    assert tip_error_m(mine, mine, robot.limits, 20, 0) < 1e-6
    targets = mine(np.full((3, 4), 0.4))
    q = reach(mine, targets, np.zeros((3, 4)), robot.limits)
    np.testing.assert_allclose(mine(q), targets, atol=1e-3)
    assert (q >= robot.limits[:, 0]).all()
    assert (q <= robot.limits[:, 1]).all()


def test_a_body_that_is_not_the_arms_misses_and_the_arms_own_does_not(robot):
    at, damaged = tip_of(robot), bent(robot, "bend:2:10")
    stale = tip_error_m(tip(robot, at), tip(damaged, at), robot.limits, 30, 1)
    assert stale > 0.02
    assert tip_error_m(tip(damaged, at), tip(damaged, at), robot.limits, 30, 1) < 1e-3 * stale
    less = tip_error_m(tip(robot, at), tip(bent(robot, "bend:2:2"), at), robot.limits, 30, 1)
    assert less < 0.3 * stale
