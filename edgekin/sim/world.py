"""The arm in PyBullet: dynamics with position control, measured joints. PyBullet is imported when a world opens."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import MissingExtra, RobotError
from edgekin.robot.export import dynamics_urdf
from edgekin.robot.spec import Float, RobotSpec
from edgekin.robot.transforms import quaternion

GRAVITY = -9.8  # m/s^2, as in the published data
STEP_HZ = 240.0  # PyBullet's default
MOTOR_FORCE = 500.0  # N m: enough for every robot here to hold itself up


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


class World:
    """One robot, fixed at its base, in a PyBullet world of its own without a window."""

    def __init__(self, spec: RobotSpec, step_hz: float = STEP_HZ) -> None:
        self._bullet = bullet = import_pybullet()
        self.spec = spec
        self._client = client = bullet.connect(bullet.DIRECT)
        try:
            bullet.setGravity(0, 0, GRAVITY, physicsClientId=client)
            bullet.setTimeStep(1 / step_hz, physicsClientId=client)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "robot.urdf"
                path.write_text(dynamics_urdf(spec))
                self._body = load_body(bullet, client, spec, path)
        except BaseException:
            self.close()
            raise
        index = {bullet.getJointInfo(self._body, i, physicsClientId=client)[1].decode(): i
                 for i in range(bullet.getNumJoints(self._body, physicsClientId=client))}
        self._joints = [index[j.name] for j in spec.actuated]
        for joint in spec.joints:
            if not joint.actuated and joint.kind != "fixed":
                bullet.resetJointState(self._body, index[joint.name], joint.rest, physicsClientId=client)
                self._hold(index[joint.name], joint.rest)

    def _hold(self, joint: int, target: float) -> None:
        self._bullet.setJointMotorControl2(self._body, joint, self._bullet.POSITION_CONTROL, targetPosition=target,
                                           force=MOTOR_FORCE, physicsClientId=self._client)

    def place(self, q: Float) -> None:
        """Put the joints at q (J,) rad, at rest."""
        for joint, value in zip(self._joints, q, strict=True):
            self._bullet.resetJointState(self._body, joint, float(value), physicsClientId=self._client)

    def drive(self, target: Float, steps: int) -> Float:
        """Control the joints towards target (J,) rad for some steps and return their measured positions (J,) rad."""
        for joint, value in zip(self._joints, target, strict=True):
            self._hold(joint, float(value))
        for _ in range(steps):
            self._bullet.stepSimulation(physicsClientId=self._client)
        states = self._bullet.getJointStates(self._body, self._joints, physicsClientId=self._client)
        return np.array([s[0] for s in states])

    def close(self) -> None:
        """Close the world; it cannot be used afterwards."""
        if self._client is not None:
            self._bullet.disconnect(self._client)
            self._client = None

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def simulate(spec: RobotSpec, targets: Float, steps: int = 20, start: Float | None = None,
             jump: bool = False) -> NDArray[np.float64]:
    """Drive the arm through targets and measure where it gets.

    Args:
        spec: the robot.
        targets: (N, J) rad.
        steps: of 1/240 s each, for every target.
        start: (J,) rad where the arm stands at first; the first target where not given.
        jump: put the arm at each target and let it settle there, instead of moving it from one to the next.

    Returns:
        (N, J) rad measured.
    """
    measured = np.empty_like(targets)
    with World(spec) as world:
        world.place(targets[0] if start is None else start)
        for row, target in enumerate(targets):
            if jump:
                world.place(target)
            measured[row] = world.drive(target, steps)
    return measured
