"""The simulated arm: PyBullet dynamics on a Lorenz trajectory, seen through the C renderer, while events happen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.robot.events import Event
from edgekin.robot.export import dynamics_urdf
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.bullet import GRAVITY, Body, import_pybullet
from edgekin.sim.faults import JointFaults
from edgekin.sim.motion import PEAK_SPEED, LorenzMotion
from edgekin.sim.pictures import Pictures, Timeline

CONTROL_HZ = 1000.0


@dataclass(frozen=True)
class ArmState:
    """The arm at one instant."""

    true_pos: Float  # (J,) rad, where the links are
    published_pos: Float  # (J,) rad, what the encoders say
    commanded: Float  # (J,) rad, where the controller sent them


class SimulatedArm:
    """An arm under position control to which things happen while its controller still believes the URDF.

    Args:
        spec: the robot as the controller and the self-model know it.
        seed: of the motion, and of what events leave to chance.
        hz: physics and control rate.
        events: what happens, and when.
        peak_speed: rad/s, of the fastest joint.
    Raises:
        MissingExtra: PyBullet is not installed.
        RobotError: PyBullet cannot load the URDF.
        ConfigError: an event names no link or joint of this robot.
    """

    def __init__(self, spec: RobotSpec, seed: int, hz: float = CONTROL_HZ, events: Sequence[Event] = (),
                 peak_speed: float = PEAK_SPEED) -> None:
        self.spec, self.events = spec, tuple(events)
        self._seconds, self._time_s, self._steps = 1.0 / hz, -np.inf, 0
        self.motion = LorenzMotion(spec.limits, seed, peak_speed)
        self._target, velocity = self.motion.advance(0.0)
        # Everything slow about the events comes first, so that their onset costs no frame.
        self._faults, self._pictures = JointFaults(spec, events, seed), Pictures(spec, events, seed)
        self._timeline = Timeline(self._pictures.most_lag_s + self._seconds) if self._pictures.most_lag_s else None
        pybullet = import_pybullet()
        self._bullet, self._client = pybullet, pybullet.connect(pybullet.DIRECT)
        pybullet.setTimeStep(self._seconds, physicsClientId=self._client)
        pybullet.setGravity(0, 0, GRAVITY, physicsClientId=self._client)
        texts = [dynamics_urdf(stage) for stage in self._pictures.stages]  # the same: only what is seen changes
        bodies = {text: Body(pybullet, self._client, stage) for text, stage in
                  dict(zip(texts, self._pictures.stages, strict=True)).items()}
        self._bodies = [bodies[text] for text in texts]
        self._body = self._bodies[0]
        self._body.place(self._target, velocity)
        self._state = ArmState(self._target, self._target, self._target)

    @property
    def changed(self) -> bool:
        """Whether anything has happened yet."""
        return any(event.onset_s <= self._time_s for event in self.events)

    @property
    def should_alarm(self) -> bool:
        """Whether anything has happened yet that a detector must not miss."""
        return any(event.onset_s <= self._time_s and event.entry.must_alarm for event in self.events)

    def step(self, time_s: float | None = None) -> ArmState:
        """Advance by one control period.

        Args:
            time_s: what the onsets of events are compared with; None: the time simulated so far.
        """
        self._steps += 1
        self._time_s = self._steps * self._seconds if time_s is None else time_s
        now = np.array([self._time_s])
        target, velocity = self.motion.advance(self._seconds)
        self._target = self._faults.hold(now, target[None])[0]
        velocity[self._faults.held(self._time_s)] = 0.0
        body = self._bodies[self._pictures.stage(self._time_s)]
        if body is not self._body:
            body.place(*self._body.state())
            self._body = body
        self._body.command(self._target, velocity)
        self._bullet.stepSimulation(physicsClientId=self._client)
        motor = self._body.state()[0][None]
        true_pos = self._faults.play(now, motor)
        if self._timeline is not None:
            self._timeline.add(now, true_pos)
        self._state = ArmState(true_pos[0], self._faults.encode(now, motor)[0], target)
        return self._state

    def picture(self) -> NDArray[np.uint8]:
        """Return what the cameras deliver now, (V, H, ceil(W / 8))."""
        now = np.array([self._time_s])
        seen_s, seen = self._pictures.seen_at(now), self._state.true_pos[None]
        if self._timeline is not None and self._time_s > -np.inf:
            seen = self._timeline.at(seen_s)
        masks: NDArray[np.uint8] = self._pictures.draw(now, seen_s, seen)[0]
        return masks

    def close(self) -> None:
        """End the physics client."""
        if self._client >= 0:
            self._bullet.disconnect(self._client)
            self._client = -1


def healthy_trajectories(spec: RobotSpec, seconds: float, hz: float, seed: int, trajectories: int = 8,
                         peak_speed: float = PEAK_SPEED) -> tuple[Float, NDArray[np.uint8], NDArray[np.int64]]:
    """Return what a healthy arm shows on its way: the data that a detector is calibrated on.

    Args:
        spec: the robot.
        seconds: length of each trajectory.
        hz: frames a second.
        seed: trajectory i has seed `seed + i`.
        trajectories: how many independent ones.
        peak_speed: rad/s, of the fastest joint.
    Returns:
        joint_pos (N, J) rad, packed (N, V, H, ceil(W / 8)), trajectory_ids (N,).
    """
    substeps = math.ceil(250.0 / hz)  # physics at 250 Hz at least
    count = max(1, int(seconds * hz))
    joint_pos, packed = [], []
    for number in range(trajectories):
        arm = SimulatedArm(spec, seed + number, hz * substeps, (), peak_speed)
        try:
            for _ in range(count):
                for _ in range(substeps):
                    state = arm.step()
                joint_pos.append(state.published_pos)
                packed.append(arm.picture())
        finally:
            arm.close()
    return np.array(joint_pos), np.array(packed), np.repeat(np.arange(trajectories), count)
