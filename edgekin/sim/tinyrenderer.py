"""PyBullet's own TinyRenderer on a robot and its cameras: the slow twin that the C renderer is held against."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.robot.loading import locate
from edgekin.robot.spec import Camera, RobotSpec
from edgekin.sim.bullet import import_pybullet, load_body

FAR_M = 100.0


def view_matrix(view: Camera) -> list[float]:
    """Return the OpenGL view matrix (y up, z backward), column-major, of an OpenCV camera."""
    return [float(v) for v in (np.diag([1.0, -1.0, -1.0, 1.0]) @ view.world_to_cam).T.ravel()]


def projection_matrix(view: Camera) -> list[float]:
    """Return the OpenGL projection, column-major, of pinhole intrinsics."""
    near, far = view.near, FAR_M
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * view.fx / view.width, 1 - 2 * view.cx / view.width
    matrix[1, 1], matrix[1, 2] = 2 * view.fy / view.height, 2 * view.cy / view.height - 1
    matrix[2, 2], matrix[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
    matrix[3, 2] = -1
    return [float(v) for v in matrix.T.ravel()]


class TinyRenderer:
    """Loads the robot's URDF into PyBullet and renders segmentation masks and depth.

    Args:
        spec: the robot.
        urdf: what to load; the file behind spec.path where not given.
    """

    def __init__(self, spec: RobotSpec, urdf: Path | None = None) -> None:
        self._bullet = bullet = import_pybullet()
        self._client: int | None = bullet.connect(bullet.DIRECT)
        self._spec = spec
        path = urdf if urdf is not None else locate(spec.path.removeprefix("builtin:"))[0]
        self.body = load_body(bullet, self._client, spec, path)
        count = bullet.getNumJoints(self.body, physicsClientId=self._client)
        infos = [bullet.getJointInfo(self.body, i, physicsClientId=self._client) for i in range(count)]
        index = {info[1].decode(): info[0] for info in infos}
        self._links = {info[12].decode(): info[0] for info in infos}
        self._joints = [index[j.name] for j in spec.actuated]
        for joint in spec.joints:
            if not joint.actuated and joint.kind != "fixed":
                bullet.resetJointState(self.body, index[joint.name], joint.rest, physicsClientId=self._client)
        self._matrices = [(view_matrix(c), projection_matrix(c), c) for c in spec.cameras]

    def place(self, q: ArrayLike) -> None:
        """Put the joints at q (J,) rad."""
        for joint, value in zip(self._joints, np.asarray(q, dtype=np.float64), strict=True):
            self._bullet.resetJointState(self.body, joint, float(value), physicsClientId=self._client)

    def picture(self, view: int = 0) -> Any:
        """Return what getCameraImage returns, unconverted: what a benchmark times."""
        matrix, projection, camera = self._matrices[view]
        return self._bullet.getCameraImage(camera.width, camera.height, matrix, projection, shadow=0,
                                           renderer=self._bullet.ER_TINY_RENDERER, physicsClientId=self._client)

    def render(self, view: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return the mask (H, W) and the depth (H, W) m of one camera; the depth is only good on the robot."""
        picture, camera = self.picture(view), self._spec.cameras[view]
        shape = (camera.height, camera.width)
        buffer = np.asarray(picture[3], dtype=np.float64).reshape(shape)
        depth = FAR_M * camera.near / (FAR_M - (FAR_M - camera.near) * buffer)
        return np.asarray(picture[4]).reshape(shape) >= 0, depth

    def link_pose(self, name: str) -> NDArray[np.float64] | None:
        """Return the (4, 4) world pose of a link's URDF frame; None for the root, of which PyBullet tells the mass."""
        if name not in self._links:
            return None
        state = self._bullet.getLinkState(self.body, self._links[name], computeForwardKinematics=True,
                                          physicsClientId=self._client)
        pose = np.eye(4)
        pose[:3, :3] = np.asarray(self._bullet.getMatrixFromQuaternion(state[5])).reshape(3, 3)
        pose[:3, 3] = state[4]
        return pose

    def close(self) -> None:
        """Close the PyBullet world."""
        if self._client is not None:
            self._bullet.disconnect(self._client)
            self._client = None

    def __enter__(self) -> TinyRenderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
