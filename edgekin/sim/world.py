"""The arm in PyBullet for collecting data: driven from target to target, its joints measured."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.bullet import GRAVITY, Body, import_pybullet

STEP_HZ = 240.0  # PyBullet's default


class World:
    """One robot, fixed at its base, in a PyBullet world of its own without a window."""

    def __init__(self, spec: RobotSpec, step_hz: float = STEP_HZ) -> None:
        self._bullet = import_pybullet()
        self._client = self._bullet.connect(self._bullet.DIRECT)
        try:
            self._bullet.setGravity(0, 0, GRAVITY, physicsClientId=self._client)
            self._bullet.setTimeStep(1 / step_hz, physicsClientId=self._client)
            self._body = Body(self._bullet, self._client, spec)
        except BaseException:
            self.close()
            raise
        self._still = np.zeros(len(spec.actuated))

    def place(self, q: Float) -> None:
        """Put the joints at q (J,) rad, at rest."""
        self._body.place(q, self._still)

    def drive(self, target: Float, steps: int) -> Float:
        """Control the joints towards target (J,) rad for some steps and return their measured positions (J,) rad."""
        self._body.command(target, self._still)
        for _ in range(steps):
            self._bullet.stepSimulation(physicsClientId=self._client)
        return self._body.state()[0]

    def close(self) -> None:
        """Close the world; it cannot be used afterwards."""
        if self._client >= 0:
            self._bullet.disconnect(self._client)
            self._client = -1

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
