"""A robot as the C library takes it: ek_joint and ek_camera of engines/include/edgekin/models.h, as mappings.

cffi makes structs of them; the weight file of a body model packs the same fields in the same order.
"""

from __future__ import annotations

from typing import Any

from edgekin.robot.spec import Camera, RobotSpec

JOINT_KIND = {"fixed": 0, "revolute": 1, "continuous": 1, "prismatic": 2}  # EK_JOINT_*
CONVENTION = {"center": 0, "tinyrenderer": 1}  # EK_CONVENTION_*


def joint_structs(spec: RobotSpec) -> list[dict[str, Any]]:
    """Return the ek_joints of a robot in tree order; `coordinate` counts the actuated ones, -1: held at rest."""
    entries, coordinate = [], 0
    for joint in spec.joints:
        entries.append({"kind": JOINT_KIND[joint.kind], "parent": joint.parent, "child": joint.child,
                        "coordinate": coordinate if joint.actuated else -1, "rest": joint.rest,
                        "axis": joint.axis.tolist(), "origin": joint.origin[:3].ravel().tolist()})
        coordinate += joint.actuated
    return entries


def camera_struct(view: Camera) -> dict[str, Any]:
    """Return the ek_camera of a view."""
    return {"width": view.width, "height": view.height, "fx": view.fx, "fy": view.fy, "cx": view.cx, "cy": view.cy,
            "near_m": view.near, "world_to_cam": view.world_to_cam[:3].ravel().tolist()}


def base_rows(spec: RobotSpec) -> list[float]:
    """Return the base's pose in the world, row-major 3x4, m."""
    rows: list[float] = spec.base[:3].ravel().tolist()
    return rows
