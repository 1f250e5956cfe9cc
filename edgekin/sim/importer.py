"""Real recordings: joint angles from CSV or NPY, pictures from a folder of PNG or JPEG, as a Dataset."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import ConfigError, DataError, MissingExtra
from edgekin.robot.spec import RobotSpec
from edgekin.sim.collect import describe
from edgekin.sim.dataset import Dataset, check_dataset, pack_masks

PICTURES = (".png", ".jpg", ".jpeg")
DEFAULT_THRESHOLD = 128  # of 0..255, between black and white
DEFAULT_DIFFERENCE = 25  # of 0..255: above a camera's noise, below the arm's contrast
#: Pictures are brought to the camera's size where their proportions agree to this.
PROPORTION_TOLERANCE = 0.02


@dataclass(frozen=True)
class ImportOptions:
    """How to read a recording."""

    spec: RobotSpec
    folder: Path  # joints.csv or joints.npy, and pictures in masks/ or frames/ (one subfolder per camera)
    threshold: int | None = None  # 0..255; robot where the grey value is at least this (or the difference, see below)
    dark: bool = False  # robot where the grey value is below the threshold instead
    background: Path | None = None  # a picture without the robot: robot where a channel differs by the threshold
    degrees: bool = False  # the joint file is in degrees


def _natural(path: Path) -> list[Any]:
    """Sort key that puts frame10 after frame9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def _joint_file(folder: Path) -> Path:
    found = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".csv", ".npy")]
    named = [p for p in found if p.stem == "joints"]
    if len(named) == 1 or len(found) == 1:
        return (named or found)[0]
    raise DataError(f"{folder} holds {len(found)} CSV or NPY files, expected 1 with the joint angles",
                    "Name it joints.csv or joints.npy")


def read_joints(path: Path, spec: RobotSpec) -> NDArray[np.float64]:
    """Read joint angles (N, J) in the file's unit; a CSV may name its columns, in any order and with others between.

    Raises:
        DataError: not readable, a number that is none, or another number of columns than the robot has joints.
    """
    names = [j.name for j in spec.actuated]
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False).astype(np.float64)
        except (ValueError, OSError, EOFError, TypeError) as error:
            raise DataError(f"joint file {path} cannot be read: {error}", "Save an (N, J) float array") from None
        columns = list(range(len(names)))
    else:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
        header = [cell.strip() for cell in rows[0]] if rows else []
        named = set(names) <= set(header)
        columns = [header.index(n) for n in names] if named else list(range(len(names)))
        try:
            values = np.array([[float(cell) for cell in row] for row in rows[_skip(header):]], dtype=np.float64)
        except ValueError as error:
            raise DataError(f"joint file {path}: {error}", "Give every row the same number of numbers") from None
        if named:
            values = values[:, columns]
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(f"joint file {path} has the shape {values.shape}, expected (N, {len(names)}) for {spec.name}",
                        f"Give one column for each of {', '.join(names)}")
    return np.asarray(values, dtype=np.float64)


def _skip(header: list[str]) -> int:
    """1 where the first row is a header: some cell of it is no number."""
    try:
        [float(cell) for cell in header]
    except ValueError:
        return 1
    return 0


def _views(folder: Path) -> tuple[list[list[Path]], bool]:
    """Return the picture files of every camera, and whether they are masks already."""
    for name, are_masks in (("masks", True), ("frames", False), (".", False)):
        place = folder / name
        if not place.is_dir():
            continue
        subfolders = [p for p in sorted(place.iterdir(), key=_natural) if p.is_dir()] if name != "." else []
        views = [sorted((f for f in p.iterdir() if f.suffix.lower() in PICTURES), key=_natural)
                 for p in (subfolders or [place])]
        if any(views):
            return views, are_masks
    raise DataError(f"{folder} holds no PNG or JPEG pictures", "Put them into its subfolder masks or frames")


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "train") from None
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"picture {path} cannot be read: {error}",
                        "Replace or remove it and its row of angles") from None
    return picture


def _fit(mask: NDArray[np.bool_], width: int, height: int, path: Path) -> NDArray[np.bool_]:
    """Bring a mask to the camera's size: a pixel is robot where at least half of its area is."""
    if mask.shape == (height, width):
        return mask
    if abs(mask.shape[1] / mask.shape[0] / (width / height) - 1) > PROPORTION_TOLERANCE:
        raise DataError(f"picture {path} is {mask.shape[1]}x{mask.shape[0]} px, the camera {width}x{height}",
                        "Set the camera's width and height in the RobotSpec YAML to the same proportions")
    from PIL import Image

    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


class _Segmenter:
    """Turns pictures of one camera into masks; all must have the size of the first."""

    def __init__(self, options: ImportOptions) -> None:
        self._options, self._size = options, (0, 0)
        difference = options.background is not None
        default = DEFAULT_DIFFERENCE if difference else DEFAULT_THRESHOLD
        self.threshold = default if options.threshold is None else options.threshold
        if not 0 <= self.threshold <= 255:
            raise ConfigError(f"threshold {self.threshold}, expected 0 to 255", "Choose a grey value")
        if difference and options.dark:
            raise ConfigError("dark and background exclude each other", "Give one of them")
        self._background = None
        if options.background is not None:
            self._background = np.asarray(_open(options.background).convert("RGB"), dtype=np.int16)

    def __call__(self, path: Path) -> NDArray[np.bool_]:
        picture = _open(path)
        if self._size == (0, 0):
            self._size = picture.size
        if picture.size != self._size:
            raise DataError(f"picture {path} is {picture.size[0]}x{picture.size[1]} px, the ones before are "
                            f"{self._size[0]}x{self._size[1]}", "Give all pictures one size")
        if self._background is None:
            grey = np.asarray(picture.convert("L"))
            return grey < self.threshold if self._options.dark else grey >= self.threshold
        rgb = np.asarray(picture.convert("RGB"), dtype=np.int16)
        if rgb.shape != self._background.shape:
            raise DataError(f"picture {path} is {rgb.shape[1]}x{rgb.shape[0]} px, the background "
                            f"{self._background.shape[1]}x{self._background.shape[0]}", "Give both the same size")
        different: NDArray[np.bool_] = np.abs(rgb - self._background).max(axis=2) >= self.threshold
        return different


def import_recording(options: ImportOptions) -> Dataset:
    """Read a recording.

    Raises:
        DataError: files missing or unreadable, counts or sizes that differ, angles that are not finite, empty masks.
        ConfigError: options that contradict each other.
    """
    spec, folder = options.spec, options.folder
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", "Give the folder of the recording")
    joints = read_joints(_joint_file(folder), spec)
    joints = np.radians(joints) if options.degrees else joints
    views, are_masks = _views(folder)
    if len(views) != len(spec.cameras):
        raise DataError(f"{folder} has pictures of {len(views)} cameras, {spec.name} has {len(spec.cameras)}",
                        "Give one subfolder per camera of the RobotSpec")
    for files in views:
        if len(files) != len(joints):
            raise DataError(f"{folder} has {len(joints)} rows of joint angles but {len(files)} pictures in "
                            f"{files[0].parent.name if files else 'a camera folder'}", "Give as many of both")
    masks = []
    for files, view in zip(views, spec.cameras, strict=True):
        segment = _Segmenter(options)
        masks.append(np.stack([_fit(segment(f), view.width, view.height, f) for f in files]))
    meta = describe(spec, joints, 0, "imported", source=folder.name, masks=are_masks, physics=None,
                    threshold=_Segmenter(options).threshold, dark=options.dark,
                    background=options.background.name if options.background else None)
    data = Dataset(joints, pack_masks(np.stack(masks, axis=1)), spec.cameras[0].width, meta)
    check_dataset(data, f"the recording {folder}")
    return data
