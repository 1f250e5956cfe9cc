"""Where to drive the arm: Lorenz trajectories, scrambled Sobol points, and the published commands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError, MissingExtra

Float = NDArray[np.float64]

SIGMA, RHO, BETA = 10.0, 28.0, 8.0 / 3.0  # Lorenz 1963
WARM_UP_STEPS = 2000  # on the attractor long before this at dt 0.01
#: Share of its range that a joint covers at least; the published data reached -46 to 53 degrees of +-90.
COVERAGE = 0.9
#: The scaled trajectory spans this share of the limits, so that a lagging controller still covers COVERAGE.
SPAN = 0.98


def lorenz_step(state: Float, dt: float) -> Float:
    """Advance Lorenz states (..., 3) by one step of RK4."""

    def slope(s: Float) -> Float:
        x, y, z = s[..., 0], s[..., 1], s[..., 2]
        return np.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], axis=-1)

    k1 = slope(state)
    k2 = slope(state + dt / 2 * k1)
    k3 = slope(state + dt / 2 * k2)
    k4 = slope(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _trajectory(start: Float, n: int, dt: float) -> Float:
    """(n, ..., 3) states, the first after one step."""
    out, state = np.empty((n, *start.shape)), start
    for i in range(n):
        state = lorenz_step(state, dt)
        out[i] = state
    return out


def lorenz(n: int, n_joints: int, limits: Float, seed: int, dt: float = 0.01) -> Float:
    """Return targets along Lorenz attractors, one independent, warmed-up one for every two joints.

    A pair of joints follows x and z of its attractor, each shifted and scaled so that the trajectory spans SPAN of the
    joint's limits: x and z are the two coordinates that are least alike.

    Args:
        n: samples.
        n_joints: J.
        limits: (J, 2) rad.
        seed: of the attractors' starts.
        dt: Lorenz time from one sample to the next.

    Returns:
        (n, J) rad.

    Raises:
        ConfigError: fewer than 2 samples, or a dt at which RK4 diverges.
    """
    if n < 2 or not 0 < dt <= 0.05:
        raise ConfigError(f"Lorenz excitation of {n} samples with dt {dt}, expected at least 2 and 0 < dt <= 0.05",
                          "Ask for more samples or a smaller step")
    pairs = (n_joints + 1) // 2
    start = np.random.default_rng(seed).uniform((-10, -10, 15), (10, 10, 35), size=(pairs, 3))
    state = start
    for _ in range(WARM_UP_STEPS):
        state = lorenz_step(state, 0.01)
    states = _trajectory(state, n, dt)
    raw = np.stack([states[:, j // 2, 0 if j % 2 == 0 else 2] for j in range(n_joints)], axis=1)
    low, high = raw.min(axis=0), raw.max(axis=0)
    centre, half = limits.mean(axis=1), (limits[:, 1] - limits[:, 0]) / 2
    scaled: Float = centre + SPAN * half * (2 * (raw - low) / (high - low) - 1)
    return scaled


def sobol(n: int, limits: Float, seed: int) -> Float:
    """Return n points of a scrambled Sobol sequence over the limits (J, 2) rad, as (n, J) rad.

    Raises:
        MissingExtra: scipy is not installed.
    """
    try:
        from scipy.stats import qmc
    except ImportError:
        raise MissingExtra("scipy", "train") from None
    sampler = qmc.Sobol(len(limits), scramble=True, seed=seed)
    unit = sampler.random_base2(max(0, int(np.ceil(np.log2(max(n, 1))))))[:n]
    points: Float = limits[:, 0] + unit * (limits[:, 1] - limits[:, 0])
    return points


def published_commands(n: int = 2000) -> Float:
    """Return the commands of the published data set, (n, 4) in [-1, 1]; times 90 degrees they are its target angles.

    Two Lorenz systems from (1, 1, 1) without warm-up, RK4 with dt 0.01 and 0.012, through tanh(0.025 s) and
    tanh(0.022 s); the four joints take x and y of the first, x and z of the second.
    """
    one = np.tanh(0.025 * _trajectory(np.ones(3), n, 0.01))
    two = np.tanh(0.022 * _trajectory(np.ones(3), n, 0.012))
    commands: Float = np.clip(np.stack([one[:, 0], one[:, 1], two[:, 0], two[:, 2]], axis=1), -1, 1)
    return commands


def coverage(joint_pos: Float, limits: Float) -> Float:
    """Return the share of each joint's limits that samples (N, J) span, (J,)."""
    width = limits[:, 1] - limits[:, 0]
    inside = np.clip(joint_pos, limits[:, 0], limits[:, 1])
    share: Float = (inside.max(axis=0) - inside.min(axis=0)) / width
    return share
