"""The C silhouette renderer's Python face: joint angles in, bit-packed masks or metric depth out."""

from __future__ import annotations

import hashlib
import threading
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgekin.errors import RobotError, RuntimeFault
from edgekin.robot.spec import RobotSpec
from edgekin.robot.structs import CONVENTION, base_rows, camera_struct, joint_structs

#: Scenes of closed renderers with the hash of their geometry, oldest first, for the next renderer of the same robot: to
#: make one takes as long as to draw hundreds of pictures.
_parked: list[tuple[bytes, Any]] = []
_parking = threading.Lock()
PARKED_SCENES = 4


class Renderer:
    """Renders one robot from its cameras; for one thread at a time.

    Args:
        spec: the robot; its cameras must share one picture size.

    Raises:
        RobotError: cameras of different sizes.
        RuntimeFault: the C library refused the geometry.
    """

    def __init__(self, spec: RobotSpec) -> None:
        from edgekin._ek import ffi, lib

        sizes = {(c.height, c.width) for c in spec.cameras}
        if len(sizes) != 1:
            raise RobotError(f"the cameras of {spec.name} have {len(sizes)} picture sizes, expected 1",
                             "Give every camera the same width and height")
        (self.height, self.width), = sizes
        self.n_views, self.n_joints = len(spec.cameras), len(spec.actuated)
        self.row_bytes = (self.width + 7) // 8
        self._ffi, self._lib, self._name = ffi, lib, spec.name
        self._convention = CONVENTION[spec.convention]
        self._cameras = [ffi.new("ek_camera *", camera_struct(c)) for c in spec.cameras]
        self._joints = ffi.new("ek_joint[]", joint_structs(spec))
        self._base = ffi.new("double[12]", base_rows(spec))
        self._n_links = len(spec.links)
        self._poses = ffi.new("double[]", 12 * self._n_links)
        self._geometry, self._scene = self._open(spec)

    def _open(self, spec: RobotSpec) -> tuple[bytes, Any]:
        """The hash of the geometry, and its scene, which is this renderer's alone."""
        ffi = self._ffi
        starts = np.cumsum([0] + [len(link.vertices) for link in spec.links])
        vertices = np.ascontiguousarray(np.concatenate([link.vertices for link in spec.links]), dtype=np.float32)
        triangles = np.ascontiguousarray(np.concatenate([link.triangles + start for link, start in
                                                         zip(spec.links, starts[:-1], strict=True)]), dtype=np.int32)
        owner = np.repeat(np.arange(len(spec.links), dtype=np.int32), [len(link.triangles) for link in spec.links])
        sizes = np.array([len(vertices), len(triangles), len(spec.links)])
        geometry = hashlib.sha256(b"".join(part.tobytes() for part in (sizes, vertices, triangles, owner))).digest()
        with _parking:
            for index, (other, _) in enumerate(_parked):
                if other == geometry:
                    return _parked.pop(index)
        status = ffi.new("int *")
        scene = self._lib.ek_scene_create(ffi.from_buffer("float[]", vertices), len(vertices),
                                          ffi.from_buffer("int32_t[]", triangles), ffi.from_buffer("int32_t[]", owner),
                                          len(triangles), len(spec.links), status)
        if scene == ffi.NULL:
            self._check(status[0], "ek_scene_create")
        return geometry, ffi.gc(scene, self._lib.ek_scene_destroy)

    def _check(self, status: int, call: str) -> None:
        if status != 0:
            text = self._ffi.string(self._lib.ek_status_text(status)).decode()
            raise RuntimeFault(f"{call} refused for {self._name}: {text}",
                               "Check the robot's geometry and the joint angles")

    def _angles(self, q: ArrayLike) -> NDArray[np.float64]:
        angles = np.ascontiguousarray(q, dtype=np.float64)
        if angles.ndim == 1:
            angles = angles[None]
        if angles.ndim != 2 or angles.shape[1] != self.n_joints:
            raise RobotError(f"got joint angles of shape {angles.shape}, expected (N, {self.n_joints}) for "
                             f"{self._name}", "Give one angle for each actuated joint")
        if self._scene is None:
            raise RuntimeFault("the renderer is closed", "Open another")
        return angles

    def _place(self, buffer: Any, row: int) -> None:
        q = buffer + row * self.n_joints
        status = self._lib.ek_forward_kinematics(self._joints, self._n_links - 1, self._base, q, self.n_joints,
                                                 self._poses, self._n_links)
        if status:
            self._check(status, "ek_forward_kinematics")

    def masks(self, q: ArrayLike) -> NDArray[np.uint8]:
        """Render silhouettes.

        Args:
            q: (N, J) or (J,) rad.

        Returns:
            (N, V, H, row_bytes) uint8, numpy.packbits along x.
        """
        angles = self._angles(q)
        out = np.zeros((len(angles), self.n_views, self.height, self.row_bytes), dtype=np.uint8)
        source, target = self._ffi.from_buffer("double[]", angles), self._ffi.from_buffer("uint8_t[]", out)
        size, at = self.height * self.row_bytes, 0
        render, scene, convention, poses = self._lib.ek_render_mask, self._scene, self._convention, self._poses
        for row in range(len(angles)):
            self._place(source, row)
            for view in self._cameras:
                status = render(scene, view, convention, poses, target + at)
                if status:
                    self._check(status, "ek_render_mask")
                at += size
        return out

    def depth(self, q: ArrayLike) -> NDArray[np.float32]:
        """Render depth along each camera's axis.

        Args:
            q: (N, J) or (J,) rad.

        Returns:
            (N, V, H, W) float32 m, +inf where there is no robot.
        """
        angles = self._angles(q)
        out = np.empty((len(angles), self.n_views, self.height, self.width), dtype=np.float32)
        source, target = self._ffi.from_buffer("double[]", angles), self._ffi.from_buffer("float[]", out)
        size, at = self.height * self.width, 0
        for row in range(len(angles)):
            self._place(source, row)
            for view in self._cameras:
                self._check(self._lib.ek_render_depth(self._scene, view, self._convention, self._poses, target + at),
                            "ek_render_depth")
                at += size
        return out

    def close(self) -> None:
        """Give up the C scene; the renderer cannot be used afterwards."""
        scene, self._scene = self._scene, None
        if scene is None:
            return
        with _parking:
            _parked.append((self._geometry, scene))
            if len(_parked) > PARKED_SCENES:
                self._ffi.release(_parked.pop(0)[1])

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
