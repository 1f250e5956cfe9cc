"""Writing a bundle: everything into a hidden sibling folder, then one rename; or nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekin.bundle import KNOWN_ANSWERS, WEIGHTS, check_known_answers, write_manifest
from edgekin.compile.product import Float, Product
from edgekin.errors import BundleError
from edgekin.output import write_atomic
from edgekin.quantization.profile import Calibration
from edgekin.robot import RobotSpec, robot_sha256, save_robot


class NewBundle:
    """A bundle under construction in a temporary sibling of its final place."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out

    def files(self, content: dict[str, bytes]) -> None:
        """Write files by their path in the bundle."""
        for name, data in content.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file, indented for reading."""
        (self.folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def calibration(self, calibration: Calibration) -> None:
        """Write calibration.json."""
        calibration.save(self.folder / "calibration.json")

    def robot(self, robot: RobotSpec) -> None:
        """Write the robot as trained, meshes included."""
        save_robot(robot, self.folder)

    def known_answers(self, product: Product, poses: Float, name: str = KNOWN_ANSWERS) -> None:
        """Write the reference's answers for (K, J) poses, and make the native engine give them once already."""
        raw = product.known_answers(poses)
        (self.folder / name).write_bytes(raw)
        if product.main == WEIGHTS:
            from edgekin.runtime.engine import Engine

            with Engine.open(product.files[WEIGHTS]) as engine:
                check_known_answers(engine, raw, f"{self.out}/{name}")

    def publish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and move the folder to its place, replacing what is there."""
        write_manifest(self.folder, manifest)
        # mkdtemp makes private folders; a bundle is as readable as anything else its user writes.
        mask = os.umask(0)
        os.umask(mask)
        self.folder.chmod(0o777 & ~mask)
        if self.out.exists():
            old = self.folder.with_suffix(".old")
            self.out.rename(old)
            try:
                self.folder.rename(self.out)
            except OSError:
                old.rename(self.out)
                raise
            shutil.rmtree(old)
        else:
            self.folder.rename(self.out)


@contextmanager
def new_bundle(out: Path, force: bool) -> Iterator[NewBundle]:
    """Open a temporary sibling of a bundle's place; it is removed unless it was published.

    Args:
        out: where the bundle is to stand.
        force: replace what stands there, if it is a bundle.

    Raises:
        BundleError: something stands there already, or the place cannot be written to.
    """
    if out.exists() and not force:
        raise BundleError(f"{out} exists already; nothing was overwritten",
                          "Add --force to replace it, or name another --out")
    if out.exists() and not (out.is_dir() and ((out / "manifest.json").exists() or not any(out.iterdir()))):
        raise BundleError(f"{out} exists and is not a bundle; --force replaces bundles only", "Name another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise BundleError(f"cannot write the bundle {out}: {error.strerror}", "Name a writable --out") from error
    try:
        yield NewBundle(folder, out)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {out}: {error.strerror}",
                          "Free disk space or name another --out") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_cache(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write what belongs to this machine alone into the folder beside a bundle, each file whole; others stay.

    Raises:
        BundleError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomic(folder / name, data)
    except OSError as error:
        raise BundleError(f"cannot write {folder}: {error.strerror}", "Free disk space or copy the bundle") from error


def robot_entry(robot: RobotSpec) -> dict[str, Any]:
    """Return what the manifest says about the robot."""
    return {"name": robot.name, "path": robot.path, "sha256": robot_sha256(robot),
            "joints": [joint.name for joint in robot.actuated], "limits_rad": robot.limits.tolist(),
            "views": len(robot.cameras), "width": robot.cameras[0].width, "height": robot.cameras[0].height}
