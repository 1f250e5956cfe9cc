"""load_robot: a name, a URDF, a RobotSpec YAML or a robot of pybullet_data, as a RobotSpec."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from edgekin.errors import ConfigError, RobotError
from edgekin.robot.cameras import framing_camera, sees_robot
from edgekin.robot.files import load_links
from edgekin.robot.options import RobotOptions, options_from, read_yaml, unknown_key
from edgekin.robot.spec import Joint, Link, RobotSpec
from edgekin.robot.urdf import link_reader, parse_urdf

DATA = Path(__file__).resolve().parent.parent / "data"
#: name -> its URDF in edgekin/data.
BUILTIN = {"arm4": "arm4/arm4.urdf"}
#: Arms of pybullet_data that are tested here; any other URDF there may work too.
KNOWN = ("kuka_iiwa/model.urdf", "franka_panda/panda.urdf", "xarm/xarm6_robot.urdf")
MAX_JOINTS = 16  # EK_MAX_JOINTS of engines/include/edgekin.h
MAX_URDF_BYTES = 16 * 1024 * 1024


def pybullet_data_folder() -> Path | None:
    """Return where pybullet_data lies, or None where it is not installed; PyBullet itself is not imported."""
    found = importlib.util.find_spec("pybullet_data")
    places = found.submodule_search_locations if found is not None else None
    return Path(places[0]) if places else None


def known_robots() -> list[str]:
    """Return the arms of pybullet_data that are known to work, as load_robot takes them."""
    folder = pybullet_data_folder()
    return [name for name in KNOWN if folder is not None and (folder / name).is_file()]


def locate(name: str) -> tuple[Path, str]:
    """Return the file behind a name and what to write down as its origin."""
    if name in BUILTIN:
        return DATA / BUILTIN[name], f"builtin:{name}"
    path = Path(name).expanduser()
    if path.is_dir() and (path / "robot.yaml").is_file():
        return path / "robot.yaml", str(path / "robot.yaml")
    if path.is_file():
        return path, str(path)
    folder = pybullet_data_folder()
    if folder is not None and path.suffix and (folder / path).is_file():
        return folder / path, name
    where = "no such file" if folder is not None else "no such file, and pybullet_data is not installed"
    raise RobotError(f"robot {name!r} not found: {where}",
                     "Give arm4, a URDF or RobotSpec YAML, or a path inside pybullet_data; see edgekin robots")


def _read(path: Path) -> str:
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_URDF_BYTES else None
        if data is None:
            raise RobotError(f"URDF {path} is larger than {MAX_URDF_BYTES} bytes", "Give a URDF file")
        return data.decode("utf-8")
    except OSError as error:
        raise RobotError(f"URDF {path} cannot be read: {error.strerror}", "Check the path") from None
    except UnicodeDecodeError:
        raise RobotError(f"URDF {path} is not UTF-8 text", "Give a URDF file") from None


def _choose(joints: tuple[Joint, ...], options: RobotOptions) -> tuple[Joint, ...]:
    """Apply joint subset, limits and rest values."""
    names = [j.name for j in joints]
    for given, what in ((options.joints, "joints"), (options.limits, "limits"), (options.rest, "rest")):
        for name in given:
            if name not in names:
                raise unknown_key(name, names, what)
    out = []
    for joint in joints:
        lower, upper = options.limits.get(joint.name, (joint.lower, joint.upper))
        actuated = joint.actuated
        if options.joints:
            actuated = joint.name in options.joints
            if actuated and joint.kind not in ("revolute", "continuous"):
                raise ConfigError(f"joint {joint.name!r} is {joint.kind}, expected revolute or continuous",
                                  "Leave it out of `joints`; it is held at rest")
        if actuated and not (np.isfinite([lower, upper]).all() and lower < upper):
            raise ConfigError(f"joint {joint.name!r} has the limits {lower} to {upper} rad, expected lower < upper",
                              "Correct `limits`")
        out.append(replace(joint, lower=lower, upper=upper, actuated=actuated,
                           rest=float(options.rest.get(joint.name, joint.rest))))
    count = sum(j.actuated for j in out)
    if not 1 <= count <= MAX_JOINTS:
        raise RobotError(f"the robot has {count} actuated joints, expected 1 to {MAX_JOINTS}",
                         "Choose some with `joints` in a RobotSpec YAML")
    return tuple(out)


def _merge(options: RobotOptions, over: RobotOptions | None) -> RobotOptions:
    """What the caller gives stands over what the YAML says."""
    if over is None:
        return options
    plain = RobotOptions()
    return RobotOptions(over.joints or options.joints, {**options.limits, **over.limits}, {**options.rest, **over.rest},
                        over.base if over.base is not None else options.base, over.cameras or options.cameras,
                        over.convention if over.convention != plain.convention else options.convention)


def _saved_link(links: dict[str, Link], element: Element) -> Link:
    name = element.get("name", "")
    if name not in links:
        raise RobotError(f"the saved meshes lack link {name!r}", "Write the run again with edgekin train")
    return links[name]


def load_robot(name_or_path: str, options: RobotOptions | None = None) -> RobotSpec:
    """Load a robot.

    Args:
        name_or_path: `arm4`, a URDF, a RobotSpec YAML (docs/robots.md), a folder with robot.yaml, or the path of a
            URDF relative to pybullet_data.
        options: choices that stand over the YAML's.

    Raises:
        RobotError: URDF, mesh or joint that cannot be used, or a camera that never sees the robot.
        ConfigError: a RobotSpec YAML or option that cannot be used.
    """
    path, origin = locate(name_or_path)
    entry: dict[str, Any] = {}
    chosen = options or RobotOptions()
    if path.suffix.lower() in (".yaml", ".yml"):
        entry = read_yaml(path)
        chosen = _merge(options_from(entry), options)
        folder, urdf = path.parent, str(entry["urdf"])
        local = folder / Path(urdf).expanduser()
        path = local if local.is_file() else locate(urdf)[0]
        origin = str(entry.get("path", origin))
        if "meshes" in entry:
            links = load_links(folder / str(entry["meshes"]))
            description = parse_urdf(text := _read(path), lambda element: _saved_link(links, element))
        else:
            description = parse_urdf(text := _read(path), link_reader(path.parent, chosen.convention == "tinyrenderer"))
    else:
        description = parse_urdf(text := _read(path), link_reader(path.parent, chosen.convention == "tinyrenderer"))
    if not any(len(link.triangles) for link in description.links):
        raise RobotError(f"robot {name_or_path} has no visible geometry", "Add <visual> elements to its links")
    base = chosen.base if chosen.base is not None else np.eye(4)
    name = str(entry.get("name", Path(name_or_path).parent.name if path.name == "model.urdf" else description.name))
    spec = RobotSpec(name, text, origin, description.links, _choose(description.joints, chosen), base,
                     chosen.cameras, chosen.convention)
    if not spec.cameras:
        return replace(spec, cameras=(framing_camera(spec),))
    for number, view in enumerate(spec.cameras):
        if not sees_robot(spec, view):
            raise RobotError(f"camera {number} sees no part of {spec.name} in any of 64 sampled poses",
                             "Move or turn it (eye, target), or leave `cameras` out for one that frames the workspace")
    return spec
