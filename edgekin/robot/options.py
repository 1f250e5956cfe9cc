"""What a RobotSpec YAML or a caller may choose about a robot: joints, limits, base, cameras, convention."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edgekin.errors import ConfigError
from edgekin.robot.cameras import DEFAULT_FOV_DEG, DEFAULT_SIZE_PX, camera, check_camera, focal_px, look_at
from edgekin.robot.spec import Camera, Float
from edgekin.robot.transforms import pose, rpy_to_rotation

CONVENTIONS = ("center", "tinyrenderer")
_TOP = ("urdf", "name", "path", "meshes", "joints", "limits", "rest", "base", "cameras", "convention")
_BASE = ("xyz", "rpy_deg", "pose")
_CAMERA = ("eye", "target", "up", "pose", "world_to_cam", "fov_deg", "fx", "fy", "cx", "cy", "width", "height", "near")
MAX_VIEWS = 4  # EK_MAX_VIEWS of engines/include/edgekin.h


@dataclass(frozen=True)
class RobotOptions:
    """Choices about a robot; None or empty leaves the URDF's."""

    joints: tuple[str, ...] = ()  # names of the actuated joints; others are held at rest
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # joint -> lower, upper, rad
    rest: Mapping[str, float] = field(default_factory=dict)  # joint -> rad (m) when not actuated
    base: Float | None = None  # (4, 4) world pose of the root link
    cameras: tuple[Camera, ...] = ()  # none: one that frames the workspace
    convention: str = "center"  # center | tinyrenderer


def unknown_key(key: str, known: Iterable[str], where: str) -> ConfigError:
    """Return the error for a name that is not known, with the nearest one that is."""
    names = list(known)
    close = difflib.get_close_matches(str(key), names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Expected one of: {', '.join(names)}"
    return ConfigError(f"{where} has {key!r}, which is not known", hint)


def _mapping(value: Any, known: Iterable[str] | None, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is {value!r}, expected a mapping", "Write `key: value` lines")
    for key in value:
        if known is not None and key not in known:
            raise unknown_key(key, known, where)
    return value


def _array(value: Any, shape: tuple[int, ...], where: str) -> Float:
    try:
        out = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        out = np.zeros(0)
    if out.shape != shape or not np.isfinite(out).all():
        raise ConfigError(f"{where} is {value!r}, expected {' x '.join(map(str, shape)) or 'one'} finite number(s)",
                          "Correct the robot specification")
    return out


def _number(value: Any, where: str) -> float:
    return float(_array(value, (), where))


def _placement(value: Any, where: str) -> Float:
    """A rigid transform as {xyz, rpy_deg} or as a 4 x 4 matrix."""
    if isinstance(value, list):
        return _array(value, (4, 4), where)
    entry = _mapping(value, _BASE, where)
    if "pose" in entry:
        return _array(entry["pose"], (4, 4), f"{where}.pose")
    rpy = np.radians(_array(entry.get("rpy_deg", [0, 0, 0]), (3,), f"{where}.rpy_deg"))
    return pose(_array(entry.get("xyz", [0, 0, 0]), (3,), f"{where}.xyz"), rpy_to_rotation(rpy))


def _inverse(place: Float) -> Float:
    out = np.eye(4)
    out[:3, :3] = place[:3, :3].T
    out[:3, 3] = -out[:3, :3] @ place[:3, 3]
    return out


def _camera(value: Any, number: int) -> Camera:
    where = f"camera {number}"
    entry = _mapping(value, _CAMERA, where)
    width, height = (int(_number(entry.get(k, DEFAULT_SIZE_PX), f"{where}.{k}")) for k in ("width", "height"))
    ways = [k for k in ("eye", "pose", "world_to_cam") if k in entry]
    if len(ways) != 1:
        found = ", ".join(ways) or "nothing"
        raise ConfigError(f"{where} is placed by {found}, expected one of eye, pose, world_to_cam",
                          "Give `eye: [x, y, z]` with `target`, or a pose")
    if "eye" in entry:
        world_to_cam = look_at(*(_array(entry.get(k, d), (3,), f"{where}.{k}")
                                 for k, d in (("eye", None), ("target", [0, 0, 0]), ("up", [0, 0, 1]))))
    elif "pose" in entry:
        world_to_cam = _inverse(_placement(entry["pose"], f"{where}.pose"))
    else:
        world_to_cam = _array(entry["world_to_cam"], (4, 4), f"{where}.world_to_cam")
    if "fx" in entry and "fov_deg" in entry:
        raise ConfigError(f"{where} has both fov_deg and fx", "Give one of them")
    fov = _number(entry.get("fov_deg", DEFAULT_FOV_DEG), f"{where}.fov_deg")
    if not 0 < fov < 180:
        raise ConfigError(f"{where} has fov_deg {fov}, expected between 0 and 180", "Correct it")
    focal = focal_px(fov, max(height, 1))
    fx = _number(entry.get("fx", focal), f"{where}.fx")
    fy = _number(entry.get("fy", fx), f"{where}.fy")
    base = camera(world_to_cam, fov, width, height)
    view = Camera(width, height, fx, fy, _number(entry.get("cx", base.cx), f"{where}.cx"),
                  _number(entry.get("cy", base.cy), f"{where}.cy"), world_to_cam,
                  _number(entry.get("near", base.near), f"{where}.near"))
    check_camera(view, number)
    return view


def check_convention(value: Any) -> str:
    """Return the convention, or raise ConfigError for one that does not exist."""
    if value not in CONVENTIONS:
        raise unknown_key(value, CONVENTIONS, "convention")
    return str(value)


def options_from(entry: dict[str, Any]) -> RobotOptions:
    """Return the options of a parsed RobotSpec YAML; every value is validated.

    Raises:
        ConfigError: an unknown key, a wrong type, a number out of its range.
    """
    views = entry.get("cameras") or []
    if not isinstance(views, list) or len(views) > MAX_VIEWS:
        count = f"a list of {len(views)}" if isinstance(views, list) else repr(views)
        raise ConfigError(f"cameras is {count}, expected a list of at most {MAX_VIEWS}", "Name fewer cameras")
    names = entry.get("joints") or []
    if not isinstance(names, list):
        raise ConfigError(f"joints is {names!r}, expected a list of names", "Write `joints: [name, name]`")
    limits = {str(k): _array(v, (2,), f"limits.{k}")
              for k, v in _mapping(entry.get("limits") or {}, None, "limits").items()}
    rest = {str(k): _number(v, f"rest.{k}") for k, v in _mapping(entry.get("rest") or {}, None, "rest").items()}
    return RobotOptions(
        joints=tuple(str(n) for n in names),
        limits={k: (float(v[0]), float(v[1])) for k, v in limits.items()},
        rest=rest,
        base=_placement(entry["base"], "base") if entry.get("base") is not None else None,
        cameras=tuple(_camera(v, i) for i, v in enumerate(views)),
        convention=check_convention(entry.get("convention", "center")),
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a RobotSpec YAML and check its keys.

    Raises:
        ConfigError: missing, not YAML, or with an unknown key.
    """
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"robot specification {path} cannot be read: {error.strerror}", "Check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"robot specification {path} is not YAML: {' '.join(str(error).split())}",
                          "Correct it at that line") from None
    entry = _mapping(entry, _TOP, f"robot specification {path}")
    if "urdf" not in entry:
        raise ConfigError(f"robot specification {path} names no urdf", "Add `urdf: PATH`")
    return entry


def published_options() -> RobotOptions:
    """Return the set-up of the published data: base, joint range, camera (see docs/robots.md)."""
    return RobotOptions(base=pose((0, 0, -0.108), rpy_to_rotation((0, 0, -np.pi / 2))),
                        cameras=(camera(look_at((1, 0, 0), (0, 0, 0))),), convention="tinyrenderer")
