"""PyBullet without its surprises: a quiet import, and one robot as a body under position control."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgekin.errors import MissingExtra, RobotError
from edgekin.robot.export import dynamics_urdf
from edgekin.robot.spec import Float, RobotSpec
from edgekin.robot.transforms import quaternion

GRAVITY = -9.8  # m/s^2, as in the published data
MOTOR_FORCE = 500.0  # N m: enough for every robot here to hold itself up; weak motors are not what is studied


def import_pybullet() -> Any:
    """Import PyBullet without the build time that its C code writes to stderr.

    Raises:
        MissingExtra: it is not installed.
    """
    sys.stderr.flush()
    stderr, silence = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        import pybullet
    except ImportError:
        raise MissingExtra("pybullet", "train") from None
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(silence)
    return pybullet


def load_body(bullet: Any, client: int, spec: RobotSpec, path: Path) -> int:
    """Load a URDF of this robot at its base, fixed.

    Raises:
        RobotError: PyBullet refuses it.
    """
    try:
        body: int = bullet.loadURDF(str(path), basePosition=spec.base[:3, 3].tolist(),
                                    baseOrientation=quaternion(spec.base[:3, :3]), useFixedBase=True,
                                    flags=bullet.URDF_USE_INERTIA_FROM_FILE, physicsClientId=client)
    except bullet.error as error:
        raise RobotError(f"PyBullet cannot load {spec.name}: {error}", "Check the URDF's inertial elements") from None
    return body


class Body:
    """One robot in a physics client: dynamics only, so that no mesh is read and no shape collides.

    Args:
        bullet: from import_pybullet.
        client: a connected physics client, which must outlive the body.
        spec: the robot; joints that are not actuated are held at rest.
    Raises:
        RobotError: PyBullet cannot load it.
    """

    def __init__(self, bullet: Any, client: int, spec: RobotSpec) -> None:
        self._bullet, self._client = bullet, client
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "robot.urdf"
            path.write_text(dynamics_urdf(spec))
            self._id = load_body(bullet, client, spec, path)
        count = bullet.getNumJoints(self._id, client)
        index = {bullet.getJointInfo(self._id, i, client)[1].decode(): i for i in range(count)}
        self._joints = [index[j.name] for j in spec.actuated]
        self._forces = [MOTOR_FORCE] * len(self._joints)
        for joint in spec.joints:
            if not joint.actuated and joint.kind != "fixed":
                bullet.resetJointState(self._id, index[joint.name], joint.rest, physicsClientId=client)
                bullet.setJointMotorControl2(self._id, index[joint.name], bullet.POSITION_CONTROL, joint.rest,
                                             force=MOTOR_FORCE, physicsClientId=client)

    def place(self, q: Float, velocity: Float) -> None:
        """Put the joints at q (J,) rad, moving at velocity (J,) rad/s."""
        for index, angle, speed in zip(self._joints, q, velocity, strict=True):
            self._bullet.resetJointState(self._id, index, angle, speed, physicsClientId=self._client)

    def command(self, q: Float, velocity: Float) -> None:
        """Control the joints towards q (J,) rad at velocity (J,) rad/s from the next step on."""
        self._bullet.setJointMotorControlArray(
            self._id, self._joints, self._bullet.POSITION_CONTROL, q.tolist(), velocity.tolist(), self._forces,
            physicsClientId=self._client)

    def state(self) -> tuple[Float, Float]:
        """Return the measured joints: (J,) rad and (J,) rad/s."""
        states = self._bullet.getJointStates(self._id, self._joints, physicsClientId=self._client)
        return np.array([s[0] for s in states]), np.array([s[1] for s in states])
