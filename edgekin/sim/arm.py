"""The simulated arm: PyBullet dynamics on a Lorenz trajectory, seen through the C renderer, and breakable."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekin.robot.damage import BODY_KINDS, Damage, apply_damage, damaged_joint
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.bullet import GRAVITY, Body, import_pybullet
from edgekin.sim.excitation import BETA, RHO, SIGMA, lorenz_step
from edgekin.sim.renderer import Renderer

RK4_STEP = 0.005  # attractor time; RK4 is then exact to far below a pixel
WARMUP_STEPS = 2_000  # 10 time units: on the attractor
#: Lowest and highest x and z, and the largest |dx/dt| and |dz/dt|, over 40,000 time units of the attractor (measured).
X_RANGE, Z_RANGE, X_SPEED, Z_SPEED = (-19.62, 19.62), (0.78, 47.95), 163.0, 398.0
#: Joints reach this share of their range around its middle: the extremes are rare, the clip beyond is rarer.
REACH = 0.96
#: rad/s; an arm's joints turn by 100-180 deg/s at most (KUKA iiwa 14: 85-135, Franka Panda: 150-180, data sheets).
PEAK_SPEED = 2.0
CONTROL_HZ = 1000.0


def _flow(state: Float) -> Float:
    x, y, z = state[:, 0], state[:, 1], state[:, 2]
    return np.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], axis=1)


class LorenzMotion:
    """A stream of joint targets: one attractor for each pair of joints (its x and z), slowed to a plausible speed.

    Args:
        limits: (J, 2) rad.
        seed: of the attractors' initial states.
        peak_speed: rad/s, of the fastest joint.
    """

    def __init__(self, limits: Float, seed: int, peak_speed: float = PEAK_SPEED) -> None:
        joints = len(limits)
        pairs = (joints + 1) // 2
        state = np.random.default_rng(seed).normal([0.0, 0.0, 25.0], 5.0, (pairs, 3))
        for _ in range(WARMUP_STEPS):
            state = lorenz_step(state, RK4_STEP)
        self._pair, self._axis = np.arange(joints) // 2, np.arange(joints) % 2 * 2
        low, high = np.where(self._axis == 0, np.array(X_RANGE)[:, None], np.array(Z_RANGE)[:, None])
        self._centre, self._middle = (low + high) / 2, limits.mean(axis=1)
        self._gain = REACH * (limits[:, 1] - limits[:, 0]) / (high - low)
        self._limits = limits
        #: attractor time units per second
        self.rate = float(peak_speed / (self._gain * np.where(self._axis == 0, X_SPEED, Z_SPEED)).max())
        self._state, self._phase = state, 0.0
        self._enter_interval()

    def _enter_interval(self) -> None:
        """Fit the cubic (Hermite) of the joint targets over the next RK4 step, in powers of the phase in [0, 1]."""
        self._next = lorenz_step(self._state, RK4_STEP)
        p0, p1 = (self._middle + self._gain * (s[self._pair, self._axis] - self._centre) for s in
                  (self._state, self._next))
        m0, m1 = (RK4_STEP * self._gain * _flow(s)[self._pair, self._axis] for s in (self._state, self._next))
        self._cubic = (p0, m0, 3 * (p1 - p0) - 2 * m0 - m1, 2 * (p0 - p1) + m0 + m1)

    def advance(self, seconds: float) -> tuple[Float, Float]:
        """Move on and return the target (J,) rad and its velocity (J,) rad/s.

        The attractor is integrated in steps of its own and interpolated between them (cubic Hermite), so that any rate
        of calls gives the same path.
        """
        self._phase += seconds * self.rate / RK4_STEP
        while self._phase >= 1.0:
            self._state, self._phase = self._next, self._phase - 1.0
            self._enter_interval()
        t, (c0, c1, c2, c3) = self._phase, self._cubic
        target = ((c3 * t + c2) * t + c1) * t + c0
        velocity = ((3 * t * c3 + 2 * c2) * t + c1) * (self.rate / RK4_STEP)
        return np.minimum(np.maximum(target, self._limits[:, 0]), self._limits[:, 1]), velocity


@dataclass(frozen=True)
class ArmState:
    """The arm at one instant."""

    true_pos: Float  # (J,) rad
    published_pos: Float  # (J,) rad, what the encoders say


class SimulatedArm:
    """An arm under position control whose body can be damaged while its controller still believes the URDF.

    Args:
        spec: the robot as the controller and the self-model know it.
        seed: of the motion.
        hz: physics and control rate.
        damage: what `break_now` will do; None: nothing.
        peak_speed: rad/s, of the fastest joint.
    Raises:
        MissingExtra: PyBullet is not installed.
        RobotError: PyBullet cannot load the URDF.
        ConfigError: the damage names no link or joint of this robot.
    """

    def __init__(self, spec: RobotSpec, seed: int, hz: float = CONTROL_HZ, damage: Damage | None = None,
                 peak_speed: float = PEAK_SPEED) -> None:
        pybullet = import_pybullet()
        self.spec, self.damage, self.damaged = spec, damage, False
        self._seconds = 1.0 / hz
        self.motion = LorenzMotion(spec.limits, seed, peak_speed)
        self._target, velocity = self.motion.advance(0.0)
        self._renderer = Renderer(spec)
        self._bullet, self._client = pybullet, pybullet.connect(pybullet.DIRECT)
        pybullet.setTimeStep(self._seconds, physicsClientId=self._client)
        pybullet.setGravity(0, 0, GRAVITY, physicsClientId=self._client)
        self._body = Body(pybullet, self._client, spec)
        self._body.place(self._target, velocity)
        self._prepare(damage)
        self._state = ArmState(self._target, self._target)

    def _prepare(self, damage: Damage | None) -> None:
        """Everything slow about the damage, so that the onset itself costs no frame."""
        self._broken_renderer, self._broken_body = self._renderer, self._body
        self._seized: tuple[int, float] | None = None
        self._bias = np.zeros(len(self.spec.limits))
        if damage is None:
            return
        joint = self.spec.joints[damaged_joint(self.spec, damage)]
        self._damaged_coordinate = self.spec.actuated.index(joint) if joint.actuated else -1
        if damage.kind in BODY_KINDS:
            broken = apply_damage(self.spec, damage)
            self._broken_renderer = Renderer(broken)
            self._broken_body = Body(self._bullet, self._client, broken)

    def break_now(self) -> None:
        """Let the damage happen."""
        if self.damage is None or self.damaged:
            return
        self.damaged = True
        if self.damage.kind == "seized":
            self._seized = (self._damaged_coordinate, float(self._state.true_pos[self._damaged_coordinate]))
        elif self.damage.kind == "encoder-bias":
            self._bias[self._damaged_coordinate] = math.radians(self.damage.size)
        else:
            self._broken_body.place(*self._body.state())
            self._body, self._renderer = self._broken_body, self._broken_renderer

    def step(self) -> ArmState:
        """Advance by one control period."""
        self._target, velocity = self.motion.advance(self._seconds)
        if self._seized is not None:
            index, angle = self._seized
            self._target[index], velocity[index] = angle, 0.0
        self._body.command(self._target, velocity)
        self._bullet.stepSimulation(physicsClientId=self._client)
        true_pos = self._body.state()[0]
        self._state = ArmState(true_pos, true_pos + self._bias)
        return self._state

    def picture(self) -> NDArray[np.uint8]:
        """Return the silhouette of the true body at its true angles, (V, H, ceil(W / 8))."""
        masks: NDArray[np.uint8] = self._renderer.masks(self._state.true_pos)[0]
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
        arm = SimulatedArm(spec, seed + number, hz * substeps, None, peak_speed)
        try:
            for _ in range(count):
                for _ in range(substeps):
                    state = arm.step()
                joint_pos.append(state.published_pos)
                packed.append(arm.picture())
        finally:
            arm.close()
    return np.array(joint_pos), np.array(packed), np.repeat(np.arange(trajectories), count)
