"""The published data set, exactly: PyBullet, its ground in the masks, commanded angles as labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import DataError, RobotError
from edgekin.robot import RobotSpec, load_robot, published_options
from edgekin.robot.transforms import quaternion
from edgekin.sim.bullet import GRAVITY, import_pybullet
from edgekin.sim.collect import describe
from edgekin.sim.dataset import Dataset, check_dataset, load_dataset, pack_masks, save_dataset
from edgekin.sim.excitation import published_commands
from edgekin.sim.renderer import Renderer

SAMPLES, N_TRAIN = 2000, 1600
STEPS, FORCE, NEAR, FAR, THRESHOLD = 50, 100.0, 0.1, 100.0, 240.0
GROUND_Z = -0.109
SIZE_PX, FOV_DEG = 100, 42.0
COLORS = ((1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 0, 1))
LUMA = np.array([0.299, 0.587, 0.114])


def _scene(bullet: Any, client: int, spec: RobotSpec) -> int:
    bullet.setGravity(0, 0, GRAVITY, physicsClientId=client)
    ground = bullet.createVisualShape(bullet.GEOM_PLANE, rgbaColor=(1, 1, 1, 1), physicsClientId=client)
    bullet.createMultiBody(baseVisualShapeIndex=ground, basePosition=(0, 0, GROUND_Z), physicsClientId=client)
    try:
        arm: int = bullet.loadURDF(spec.path, basePosition=spec.base[:3, 3].tolist(),
                                   baseOrientation=quaternion(spec.base[:3, :3]), useFixedBase=True,
                                   physicsClientId=client)
    except bullet.error as error:
        raise RobotError(f"PyBullet cannot load {spec.path}: {error}", "Give the reference arm's URDF") from None
    for joint, color in enumerate(COLORS):
        bullet.changeVisualShape(arm, joint, rgbaColor=color, physicsClientId=client)
    return arm


def _pictures(spec: RobotSpec, targets: NDArray[np.float64],
              progress: Callable[[int, int], None] | None) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return (N, 1, H, W) masks, whatever is darker than the threshold, ground included; and (N, 4) rad, measured."""
    bullet = import_pybullet()
    client = bullet.connect(bullet.DIRECT)
    try:
        arm = _scene(bullet, client, spec)
        view = bullet.computeViewMatrix((1, 0, 0), (0, 0, 0), (0, 0, 1))
        projection = bullet.computeProjectionMatrixFOV(FOV_DEG, 1.0, NEAR, FAR)
        masks = np.empty((len(targets), 1, SIZE_PX, SIZE_PX), dtype=np.bool_)
        measured = np.empty(targets.shape)
        for row, target in enumerate(targets):
            for joint, angle in enumerate(target):
                bullet.setJointMotorControl2(arm, joint, bullet.POSITION_CONTROL, targetPosition=float(angle),
                                             force=FORCE, physicsClientId=client)
            for _ in range(STEPS):
                bullet.stepSimulation(physicsClientId=client)
            measured[row] = [bullet.getJointState(arm, joint, client)[0] for joint in range(len(target))]
            picture = bullet.getCameraImage(SIZE_PX, SIZE_PX, view, projection, shadow=0,
                                            renderer=bullet.ER_TINY_RENDERER, physicsClientId=client)[2]
            rgb = np.asarray(picture, dtype=np.uint8).reshape(SIZE_PX, SIZE_PX, 4)[..., :3]
            masks[row, 0] = rgb @ LUMA < THRESHOLD
            if progress is not None:
                progress(row + 1, len(targets))
    finally:
        bullet.disconnect(client)
    return masks, measured


def published_dataset(urdf: str, cache: Path | None = None, samples: int = SAMPLES,
                      progress: Callable[[int, int], None] | None = None, depth: bool = False) -> Dataset:
    """Make (or read from the cache) the data that the published numbers were measured on.

    Args:
        urdf: the reference arm's URDF, four joints.
        cache: a .npz that is read where it exists and written where not.
        samples: in time order; the published split takes the first 1,600 of 2,000 for training.
        progress: called with (samples done, samples in all).
        depth: keep the robot's metric depth, too, at the measured angles; the ground has none.

    Returns:
        joint_pos: the *commanded* angles, rad; masks with the ground in them.

    Raises:
        RobotError: another number of joints than 4, or PyBullet refuses the URDF.
    """
    spec = load_robot(urdf, published_options())
    if len(spec.actuated) != 4:
        raise RobotError(f"{urdf} has {len(spec.actuated)} actuated joints, expected 4 for the published protocol",
                         "Give the reference arm's URDF")
    targets = published_commands(samples) * np.pi / 2
    meta = describe(spec, targets, 0, "published", labels="commanded", ground=True)
    if cache is not None and cache.exists():
        try:
            data = load_dataset(cache)
            complete = len(data) == samples and (data.depth is not None or not depth)
            if complete and data.meta["robot_sha256"] == meta["robot_sha256"]:
                return data
        except DataError:
            pass  # made again below
    masks, measured = _pictures(spec, targets, progress)
    distances = None
    if depth:
        with Renderer(spec) as renderer:
            distances = renderer.depth(measured)
    data = Dataset(targets, pack_masks(masks), SIZE_PX, meta, distances)
    check_dataset(data, "the published data")
    if cache is not None:
        save_dataset(data, cache, force=True)
    return data
