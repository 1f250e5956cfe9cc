"""Forward kinematics, vectorised over poses. Numpy only; the C library has its own for the loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edgekin.errors import RobotError
from edgekin.robot.spec import Float, Joint, RobotSpec


def _motion(joint: Joint, q: Float) -> Float:
    """Return the (N, 4, 4) motions of a joint at positions q (N,)."""
    out = np.broadcast_to(np.eye(4), (len(q), 4, 4)).copy()
    if joint.kind == "prismatic":
        out[:, :3, 3] = q[:, None] * joint.axis
    elif joint.kind != "fixed":
        x, y, z = joint.axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        out[:, :3, :3] += np.sin(q)[:, None, None] * cross + (1 - np.cos(q))[:, None, None] * (cross @ cross)
    return out


def link_poses(spec: RobotSpec, q: ArrayLike) -> Float:
    """Return where every link is: T_child = T_parent @ origin @ motion(q).

    Args:
        q: (N, J) or (J,) rad, the actuated joints in order.

    Returns:
        (N, L, 4, 4) link-to-world transforms, m.

    Raises:
        RobotError: another number of joints, or an angle that is not finite.
    """
    joints = np.atleast_2d(np.asarray(q, dtype=np.float64))
    count = len(spec.actuated)
    if joints.ndim != 2 or joints.shape[1] != count:
        raise RobotError(f"got joint angles of shape {joints.shape}, expected (N, {count}) for {spec.name}",
                         f"Give one angle for each of {', '.join(j.name for j in spec.actuated)}")
    if not np.isfinite(joints).all():
        raise RobotError("a joint angle is not finite", "Drop the samples with NaN or infinite angles")
    poses = np.empty((len(joints), len(spec.links), 4, 4))
    poses[:, 0] = spec.base
    coordinate = 0
    for joint in spec.joints:
        value = joints[:, coordinate] if joint.actuated else np.full(len(joints), joint.rest)
        coordinate += joint.actuated
        poses[:, joint.child] = poses[:, joint.parent] @ joint.origin @ _motion(joint, value)
    return poses
