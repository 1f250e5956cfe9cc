"""Pictures of one robot from many cameras, one camera to a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgekin.robot import RobotSpec
from edgekin.robot.spec import Camera
from edgekin.sim.dataset import Dataset
from edgekin.sim.renderer import Renderer


def seen_from(spec: RobotSpec, cameras: tuple[Camera, ...], q: NDArray[np.float64],
              view: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Render each pose from its camera.

    Args:
        spec: the robot; its own cameras are not used.
        cameras: C of one picture size.
        q: (N, J) rad.
        view: (N,) indices into cameras.

    Returns:
        (N, 1, H, ceil(W / 8)) uint8, numpy.packbits along x.
    """
    out = np.zeros((len(q), 1, cameras[0].height, (cameras[0].width + 7) // 8), np.uint8)
    for number, camera in enumerate(cameras):
        rows = np.flatnonzero(view == number)
        if len(rows):
            with Renderer(replace(spec, cameras=(camera,))) as renderer:
                out[rows] = renderer.masks(q[rows])
    return out


def shared_out(n: int, cameras: int, seed: int) -> NDArray[np.int64]:
    """Return a camera for each of n samples, every camera as often as any other, in an order of the seed's."""
    view: NDArray[np.int64] = np.random.default_rng((seed, 2)).permutation(np.arange(n) % cameras)
    return view


def from_own_camera(spec: RobotSpec, data: Dataset) -> Dataset:
    """Return a dataset's poses rendered from the robot's own camera; itself where it has no cameras of its own."""
    if data.view is None:
        return data
    own, view = spec.cameras[:1], np.zeros(len(data), np.int64)
    return replace(data, packed=seen_from(spec, own, data.joint_pos, view), cameras=(), view=None)


def split_cameras(data: Dataset, test_share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the samples of most cameras, and those of the last of them, which are held out; each has one at least."""
    assert data.view is not None
    held_out = max(1, int(test_share * len(data.cameras)))
    test = data.view >= len(data.cameras) - held_out
    return np.flatnonzero(~test), np.flatnonzero(test)
