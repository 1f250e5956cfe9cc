"""Datasets: joint angles and the silhouettes that go with them, in memory and on disk."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import DataError
from edgekin.output import write_atomic
from edgekin.robot import robot_sha256
from edgekin.robot.cameras import check_camera
from edgekin.robot.spec import Camera, RobotSpec
from edgekin.robot.views import camera_code

SCHEMA = "edgekin.data/1"
_REDO = "Collect it again with edgekin collect"
CAMERA_ROW = 19  # numbers of a camera in a file


@dataclass(frozen=True)
class Dataset:
    """N samples of a robot with J actuated joints seen by V cameras."""

    joint_pos: NDArray[np.float64]  # (N, J) rad, measured
    packed: NDArray[np.uint8]  # (N, V, H, ceil(W / 8)) numpy.packbits along x
    width: int  # px
    meta: dict[str, Any] = field(default_factory=dict)  # robot, robot_sha256, seed, excitation, convention, units ...
    depth: NDArray[np.float32] | None = None  # (N, V, H, W) m, +inf off the robot
    cameras: tuple[Camera, ...] = ()  # where a sample is seen by one of many (V = 1); else those of the robot
    view: NDArray[np.int64] | None = None  # (N,) which of them

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(N, V, H, W) bool, unpacked."""
        return np.unpackbits(self.packed, axis=-1, count=self.width).astype(np.bool_)

    @property
    def inputs(self) -> NDArray[np.float64]:
        """(N, J) rad, and behind the angles the code of each sample's camera (16) where there are many."""
        if self.view is None:
            return self.joint_pos
        codes = np.stack([camera_code(camera) for camera in self.cameras])
        return np.concatenate([self.joint_pos, codes[self.view]], axis=1)

    def __len__(self) -> int:
        return len(self.joint_pos)


def pack_masks(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Bit-pack masks (..., H, W) along x, as files, ring and engines hold them."""
    return np.packbits(masks, axis=-1)


def check_dataset(data: Dataset, where: str = "the dataset") -> None:
    """Check that a dataset can be learned from.

    Raises:
        DataError: no samples, counts that differ, angles that are not finite, or masks that are all empty.
    """
    if data.joint_pos.ndim != 2 or data.packed.ndim != 4:
        raise DataError(f"{where} has joint_pos of shape {data.joint_pos.shape} and packed of shape "
                        f"{data.packed.shape}, expected (N, J) and (N, V, H, bytes)", _REDO)
    if len(data.joint_pos) != len(data.packed):
        raise DataError(f"{where} has {len(data.joint_pos)} joint samples but {len(data.packed)} masks, "
                        "expected as many", _REDO)
    if len(data) == 0:
        raise DataError(f"{where} is empty, expected at least 1 sample", _REDO)
    if data.packed.shape[3] != (data.width + 7) // 8:
        raise DataError(f"{where} has {data.packed.shape[3]} bytes a row, expected {(data.width + 7) // 8} for a "
                        f"width of {data.width} px", _REDO)
    bad = np.flatnonzero(~np.isfinite(data.joint_pos).all(axis=1))
    if len(bad):
        raise DataError(f"{where} has joint angles that are not finite in {len(bad)} of {len(data)} samples, first in "
                        f"sample {bad[0]}", "Drop those samples and import the rest")
    if (data.view is None) != (not data.cameras):
        raise DataError(f"{where} has {len(data.cameras)} cameras and no view of each sample, or the reverse", _REDO)
    if data.view is not None and (data.packed.shape[1] != 1 or data.view.shape != (len(data),)
                                  or not 0 <= data.view.min() <= data.view.max() < len(data.cameras)):
        raise DataError(f"{where} does not give each of its {len(data)} samples one of its {len(data.cameras)} cameras",
                        _REDO)
    if not data.packed.any():
        raise DataError(f"{where} has {len(data)} masks without a single robot pixel",
                        "Check the camera, or the threshold of the import")


def check_fits(data: Dataset, spec: RobotSpec, where: str) -> None:
    """Check that a dataset is of this robot: joints, views and picture size; a known hash must agree, too.

    Raises:
        DataError: it is of another robot or camera.
    """
    camera = spec.cameras[0]
    have = (data.joint_pos.shape[1], data.packed.shape[1], data.packed.shape[2], data.width)
    want = (len(spec.actuated), len(spec.cameras), camera.height, camera.width)
    if have != want:
        raise DataError(f"dataset {where} has {have[0]} joints and {have[1]} view(s) of {have[3]}x{have[2]} px, "
                        f"the robot {spec.name} has {want[0]} and {want[1]} of {want[3]}x{want[2]}",
                        "Give the robot and cameras that it was collected with: --robot")
    known = data.meta.get("robot_sha256")
    if isinstance(known, str) and known and known != robot_sha256(spec):
        raise DataError(f"dataset {where} was collected with another robot or camera than {spec.name} "
                        f"({known[:12]}..., expected {robot_sha256(spec)[:12]}...)",
                        "Give the robot and cameras that it was collected with: --robot")


def save_dataset(data: Dataset, path: Path, force: bool = False) -> None:
    """Write a dataset (docs/formats.md), whole or not at all.

    Args:
        data: checked before it is written.
        path: ends in .npz.
        force: overwrite a file that is there.

    Raises:
        DataError: unusable data, a path that exists or cannot be written.
    """
    check_dataset(data)
    path = Path(path)
    if path.exists() and not force:
        raise DataError(f"{path} exists already", "Choose another --out, or overwrite it with --force")
    meta = json.dumps({"schema": SCHEMA, **data.meta}).encode()
    arrays: dict[str, Any] = {"joint_pos": data.joint_pos, "packed": data.packed, "width": np.int64(data.width),
                              "meta": np.frombuffer(meta, np.uint8)}
    if data.depth is not None:
        arrays["depth"] = data.depth
    if data.view is not None:
        arrays |= {"view": data.view, "cameras": np.stack([_camera_row(camera) for camera in data.cameras])}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, buffer.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}",
                        "Choose a folder you may write, with space left") from None


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"dataset {path} not found", "Check the path, or run edgekin collect") from None
    except Exception as error:  # truncation shows as zipfile, zlib, EOF or value errors alike
        raise DataError(f"dataset {path} is truncated or no .npz: {error}", _REDO) from None


def load_dataset(path: Path) -> Dataset:
    """Read and check a dataset.

    Raises:
        DataError: missing, truncated, of another schema, or unusable (see check_dataset).
    """
    arrays = _read_arrays(Path(path))
    missing = [key for key in ("joint_pos", "packed", "width", "meta") if key not in arrays]
    if missing:
        raise DataError(f"dataset {path} lacks {', '.join(missing)}", _REDO)
    try:
        meta = json.loads(arrays["meta"].astype(np.uint8).tobytes().decode())
    except ValueError:
        meta = None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        found = meta.get("schema") if isinstance(meta, dict) else None
        raise DataError(f"dataset {path} has the schema {found!r}, expected {SCHEMA!r}", _REDO)
    if arrays["packed"].dtype != np.uint8 or arrays["width"].ndim != 0:
        raise DataError(f"dataset {path} has packed of type {arrays['packed'].dtype} and width of shape "
                        f"{arrays['width'].shape}, expected uint8 and one number", _REDO)
    try:
        joint_pos = arrays["joint_pos"].astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"dataset {path} has joint_pos of type {arrays['joint_pos'].dtype}", _REDO) from None
    cameras, view = _cameras(arrays, path)
    data = Dataset(joint_pos, arrays["packed"], int(arrays["width"]), meta, arrays.get("depth"), cameras, view)
    check_dataset(data, f"dataset {path}")
    return data


def _camera_row(camera: Camera) -> NDArray[np.float64]:
    """A camera as the row of a file: width, height, fx, fy, cx, cy, near, and the upper 3x4 of world_to_cam."""
    lens = [camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, camera.near]
    return np.concatenate([lens, camera.world_to_cam[:3].ravel()])


def _cameras(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[tuple[Camera, ...], NDArray[np.int64] | None]:
    """The cameras of a file and which saw each sample; raises DataError for what are none."""
    if "view" not in arrays and "cameras" not in arrays:
        return (), None
    rows, view = arrays.get("cameras", np.zeros(0)), arrays.get("view", np.zeros(0))
    sizes = (arrays["width"], arrays["packed"].shape[2] if arrays["packed"].ndim == 4 else 0)
    if rows.ndim != 2 or rows.shape[1] != CAMERA_ROW or rows.dtype != np.float64 or not np.isfinite(rows).all() \
            or view.dtype != np.int64 or not (rows[:, :2] == sizes).all():
        raise DataError(f"dataset {path} has cameras of shape {rows.shape} and view of type {view.dtype}, expected "
                        f"(C, {CAMERA_ROW}) finite numbers of its picture size and int64", _REDO)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows[:, 7:].reshape(-1, 3, 4)
    cameras = tuple(Camera(int(w), int(h), fx, fy, cx, cy, pose, near)
                    for (w, h, fx, fy, cx, cy, near), pose in zip(rows[:, :7].tolist(), poses, strict=True))
    for number, camera in enumerate(cameras):
        check_camera(camera, number)
    return cameras, view


def take(data: Dataset, rows: NDArray[np.int64] | slice | Sequence[int]) -> Dataset:
    """Return some samples, in the order asked for."""
    index = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
    return replace(data, joint_pos=data.joint_pos[index], packed=data.packed[index],
                   depth=None if data.depth is None else data.depth[index],
                   view=None if data.view is None else data.view[index])


def split_chronological(data: Dataset, n_train: int) -> tuple[Dataset, Dataset]:
    """Split in time order: the first n_train samples, and all after them."""
    _check_split(data, n_train, len(data) - n_train)
    return take(data, slice(0, n_train)), take(data, slice(n_train, None))


def split_blocks(data: Dataset, test_share: float = 0.2, blocks: int = 5, gap: int = 20) -> tuple[Dataset, Dataset]:
    """Split a trajectory into contiguous test blocks; `gap` samples on either side of a block belong to neither.

    Neighbouring samples of a trajectory are nearly the same picture: a random split would test on the training data.
    """
    n, length = len(data), int(len(data) * test_share / blocks)
    _check_split(data, n - blocks * (length + 2 * gap), blocks * length)
    role = np.zeros(n, dtype=np.int8)  # 0 train, 1 gap, 2 test
    for block in range(blocks):
        start = int((block + 0.5) * n / blocks - length / 2)
        role[max(0, start - gap) : start + length + gap] = 1
        role[start : start + length] = 2
    return take(data, np.flatnonzero(role == 0)), take(data, np.flatnonzero(role == 2))


def split_random(data: Dataset, n_test: int, seed: int) -> tuple[Dataset, Dataset]:
    """Split at random; only for samples that are independent of each other."""
    _check_split(data, len(data) - n_test, n_test)
    order = np.random.default_rng(seed).permutation(len(data))
    return take(data, np.sort(order[n_test:])), take(data, np.sort(order[:n_test]))


def _check_split(data: Dataset, n_train: int, n_test: int) -> None:
    if n_train < 1 or n_test < 1:
        raise DataError(f"{len(data)} samples split into {n_train} for training and {n_test} for the test, "
                        "expected at least 1 each", "Collect more samples")
