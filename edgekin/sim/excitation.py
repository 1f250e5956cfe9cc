"""Where to drive the arm: Lorenz trajectories, scrambled Sobol points, and the published commands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError, MissingExtra

Float = NDArray[np.float64]

SIGMA, RHO, BETA = 10.0, 28.0, 8.0 / 3.0  # Lorenz 1963
WARM_UP_TIME = 20.0  # Lorenz time; on the attractor long before
#: Share of its range that a joint covers at least; the published data reached -46 to 53 degrees of +-90.
COVERAGE = 0.9
#: The scaled trajectory spans this share of the limits, so that a lagging controller still covers COVERAGE.
SPAN = 0.98


def lorenz_step(state: Float, dt: float) -> Float:
    """Advance Lorenz states (..., 3) by one step of RK4."""
    # Plain floats are several times faster than arrays of three.
    moved = [_step((float(x), float(y), float(z)), dt) for x, y, z in state.reshape(-1, 3)]
    return np.array(moved).reshape(state.shape)


def _slope(x: float, y: float, z: float) -> tuple[float, float, float]:
    return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z


def _step(state: tuple[float, float, float], dt: float) -> tuple[float, float, float]:
    x, y, z = state
    h = dt / 2
    ax, ay, az = _slope(x, y, z)
    bx, by, bz = _slope(x + h * ax, y + h * ay, z + h * az)
    cx, cy, cz = _slope(x + h * bx, y + h * by, z + h * bz)
    dx, dy, dz = _slope(x + dt * cx, y + dt * cy, z + dt * cz)
    w = dt / 6
    return x + w * (ax + 2 * bx + 2 * cx + dx), y + w * (ay + 2 * by + 2 * cy + dy), z + w * (az + 2 * bz + 2 * cz + dz)


def _trajectory(start: tuple[float, float, float], n: int, dt: float, skip: int = 0) -> Float:
    """(n, 3) states, the first one step (and `skip` more) after the start."""
    out, state = [], start
    for _ in range(skip):
        state = _step(state, dt)
    for _ in range(n):
        state = _step(state, dt)
        out.append(state)
    return np.array(out)


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
    starts = np.random.default_rng(seed).uniform((-10, -10, 15), (10, 10, 35), size=((n_joints + 1) // 2, 3))
    warm_up = int(WARM_UP_TIME / dt)
    paths = [_trajectory((float(x), float(y), float(z)), n, dt, warm_up) for x, y, z in starts]
    raw = np.stack([paths[j // 2][:, 0 if j % 2 == 0 else 2] for j in range(n_joints)], axis=1)
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
    one = np.tanh(0.025 * _trajectory((1.0, 1.0, 1.0), n, 0.01))
    two = np.tanh(0.022 * _trajectory((1.0, 1.0, 1.0), n, 0.012))
    commands: Float = np.clip(np.stack([one[:, 0], one[:, 1], two[:, 0], two[:, 2]], axis=1), -1, 1)
    return commands


def coverage(joint_pos: Float, limits: Float) -> Float:
    """Return the share of each joint's limits that samples (N, J) span, (J,)."""
    width = limits[:, 1] - limits[:, 0]
    inside = np.clip(joint_pos, limits[:, 0], limits[:, 1])
    share: Float = (inside.max(axis=0) - inside.min(axis=0)) / width
    return share
