"""The built-in arm in a picture small enough for tests that train or draw."""

from dataclasses import replace

from edgekin.robot import load_robot
from edgekin.robot.spec import RobotSpec


def small_arm(width: int, height: int) -> RobotSpec:
    """Return arm4 whose one camera sees the same, in so many pixels; both sides are scaled by the width."""
    spec = load_robot("arm4")
    view, scale = spec.cameras[0], width / spec.cameras[0].width
    small = replace(view, width=width, height=height, fx=view.fx * scale, fy=view.fy * scale, cx=width / 2,
                    cy=height / 2)
    return replace(spec, cameras=(small,))
