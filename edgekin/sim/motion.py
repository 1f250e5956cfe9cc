"""How the simulated arm moves: along Lorenz attractors, at the speed of a real one. Numpy only."""

from __future__ import annotations

import numpy as np

from edgekin.robot.spec import Float
from edgekin.sim.excitation import BETA, RHO, SIGMA, lorenz_step

RK4_STEP = 0.005  # attractor time; RK4 is then exact to far below a pixel
WARMUP_STEPS = 2_000  # 10 time units: on the attractor
#: Lowest and highest x and z, and the largest |dx/dt| and |dz/dt|, over 40,000 time units of the attractor (measured).
X_RANGE, Z_RANGE, X_SPEED, Z_SPEED = (-19.62, 19.62), (0.78, 47.95), 163.0, 398.0
#: Joints reach this share of their range around its middle: the extremes are rare, the clip beyond is rarer.
REACH = 0.96
#: rad/s; an arm's joints turn by 100-180 deg/s at most (KUKA iiwa 14: 85-135, Franka Panda: 150-180, data sheets).
PEAK_SPEED = 2.0


def _flow(state: Float) -> Float:
    x, y, z = state[..., 0], state[..., 1], state[..., 2]
    return np.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], axis=-1)


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
        self._state, self._next, self._phase = state, lorenz_step(state, RK4_STEP), 0.0
        self._enter_interval()

    def _cubic_between(self, states: Float) -> tuple[Float, Float, Float, Float]:
        """Return the cubics (Hermite) of the joint targets between successive states (K + 1, P, 3), each (K, J), in
        powers of the phase in [0, 1]."""
        place = self._middle + self._gain * (states[:, self._pair, self._axis] - self._centre)
        slope = RK4_STEP * self._gain * _flow(states)[:, self._pair, self._axis]
        p0, p1, m0, m1 = place[:-1], place[1:], slope[:-1], slope[1:]
        return p0, m0, 3 * (p1 - p0) - 2 * m0 - m1, 2 * (p0 - p1) + m0 + m1

    def _enter_interval(self) -> None:
        c0, c1, c2, c3 = self._cubic_between(np.stack([self._state, self._next]))
        self._cubic = (c0[0], c1[0], c2[0], c3[0])

    def advance(self, seconds: float) -> tuple[Float, Float]:
        """Move on and return the target (J,) rad and its velocity (J,) rad/s.

        The attractor is integrated in steps of its own and interpolated between them (cubic Hermite), so that any rate
        of calls gives the same path.
        """
        self._phase += seconds * self.rate / RK4_STEP
        while self._phase >= 1.0:
            self._state, self._phase = self._next, self._phase - 1.0
            self._next = lorenz_step(self._state, RK4_STEP)
            self._enter_interval()
        t, (c0, c1, c2, c3) = self._phase, self._cubic
        target = ((c3 * t + c2) * t + c1) * t + c0
        velocity = ((3 * t * c3 + 2 * c2) * t + c1) * (self.rate / RK4_STEP)
        return np.minimum(np.maximum(target, self._limits[:, 0]), self._limits[:, 1]), velocity

    def path(self, n: int, seconds: float) -> Float:
        """Return the next n targets (n, J) rad, `seconds` apart: what n calls of `advance` give, but faster."""
        phases = self._phase + seconds * self.rate / RK4_STEP * np.arange(1, n + 1)
        interval = np.floor(phases).astype(np.int64)
        states = [self._state, self._next]
        for _ in range(interval[-1]):
            states.append(lorenz_step(states[-1], RK4_STEP))
        c0, c1, c2, c3 = (c[interval] for c in self._cubic_between(np.stack(states)))
        t = (phases - interval)[:, None]
        self._state, self._next, self._phase = states[-2], states[-1], float(t[-1, 0])
        self._enter_interval()
        targets: Float = ((c3 * t + c2) * t + c1) * t + c0
        return np.clip(targets, self._limits[:, 0], self._limits[:, 1], out=targets)
