"""A robot on disk beside a run or bundle: URDF, RobotSpec YAML and meshes, complete and movable."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edgekin.errors import RobotError
from edgekin.output import write_atomic
from edgekin.robot.spec import Camera, Link, RobotSpec

URDF, SPEC, MESHES = "robot.urdf", "robot.yaml", "robot_meshes.npz"


def _camera_entry(view: Camera) -> dict[str, Any]:
    return {"world_to_cam": view.world_to_cam.tolist(), "fx": view.fx, "fy": view.fy, "cx": view.cx, "cy": view.cy,
            "width": view.width, "height": view.height, "near": view.near}


def save_robot(spec: RobotSpec, folder: Path) -> None:
    """Write robot.urdf, robot.yaml and robot_meshes.npz into a folder that exists; load_robot reads the YAML.

    Raises:
        RobotError: the folder cannot be written to.
    """
    entry = {
        "urdf": URDF, "meshes": MESHES, "name": spec.name, "path": spec.path,
        "joints": [j.name for j in spec.actuated],
        "limits": {j.name: [j.lower, j.upper] for j in spec.actuated},
        "rest": {j.name: j.rest for j in spec.joints if not j.actuated and j.kind != "fixed"},
        "base": {"pose": spec.base.tolist()},
        "cameras": [_camera_entry(c) for c in spec.cameras],
        "convention": spec.convention,
    }
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for index, link in enumerate(spec.links):
        arrays[f"v{index}"], arrays[f"t{index}"] = link.vertices, link.triangles
    buffer = io.BytesIO()
    np.savez_compressed(buffer, names=np.array([link.name for link in spec.links]), **arrays)  # type: ignore[arg-type]
    try:
        write_atomic(folder / URDF, spec.urdf.encode())
        write_atomic(folder / MESHES, buffer.getvalue())
        write_atomic(folder / SPEC, yaml.safe_dump(entry, sort_keys=False, default_flow_style=None).encode())
    except OSError as error:
        raise RobotError(f"cannot write the robot into {folder}: {error.strerror}",
                         "Choose a folder you may write") from None


def load_links(path: Path) -> dict[str, Link]:
    """Read robot_meshes.npz: link name -> Link.

    Raises:
        RobotError: missing, truncated or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {str(name): Link(str(name), file[f"v{i}"].astype(np.float32), file[f"t{i}"].astype(np.int32))
                    for i, name in enumerate(file["names"])}
    except Exception as error:  # zipfile, zlib, numpy and OS errors all mean the same here
        raise RobotError(f"the meshes {path} cannot be read: {error}",
                         "Write the run again with edgekin train") from None


def robot_sha256(spec: RobotSpec) -> str:
    """Hash what makes the robot look as it does: URDF text, geometry, joints, base, cameras and convention."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        for part in parts:
            data = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(len(data).to_bytes(8, "little") + data)

    add(spec.urdf, spec.convention, np.asarray(spec.base, dtype=np.float64))
    for link in spec.links:
        add(link.name, link.vertices, link.triangles)
    for j in spec.joints:
        add(j.name, j.kind, j.parent, j.child, j.origin, j.axis)
        add(float(j.lower), float(j.upper), bool(j.actuated), float(j.rest))
    for c in spec.cameras:
        add(c.width, c.height, np.array([c.fx, c.fy, c.cx, c.cy, c.near]), np.asarray(c.world_to_cam, dtype=np.float64))
    return digest.hexdigest()
