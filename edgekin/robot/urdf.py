"""URDF text to links and joints. Numpy and the standard library only."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekin.errors import RobotError
from edgekin.robot import primitives
from edgekin.robot.mesh import load_mesh, parse_xml
from edgekin.robot.spec import Float, Joint, Link
from edgekin.robot.transforms import pose, rpy_to_rotation

#: Limits of a continuous joint that names none: what the reference arm is driven over, and a full turn would ask the
#: self-model for poses that no arm with cables takes.
CONTINUOUS_LIMIT_RAD = float(np.pi / 2)
KINDS = ("revolute", "continuous", "prismatic", "fixed", "floating", "planar")


@dataclass(frozen=True)
class Description:
    """What a URDF says, before a choice of joints and cameras."""

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]


def numbers(text: str | None, count: int, default: str, what: str) -> Float:
    """Read `count` finite numbers from an attribute.

    Raises:
        RobotError: another count, or something that is not a finite number.
    """
    try:
        values = np.array((text if text is not None else default).split(), dtype=np.float64)
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise RobotError(f"{what} is {text!r}, expected {count} finite number{'s' if count > 1 else ''}",
                         "Correct the URDF")
    return values


def origin_of(element: ET.Element, what: str) -> Float:
    """Return the (4, 4) transform of an element's <origin>, identity where it has none."""
    origin = element.find("origin")
    if origin is None:
        return np.eye(4)
    rpy = numbers(origin.get("rpy"), 3, "0 0 0", f"rpy of the origin of {what}")
    return pose(numbers(origin.get("xyz"), 3, "0 0 0", f"xyz of the origin of {what}"), rpy_to_rotation(rpy))


def resolve_mesh(filename: str, folder: Path) -> Path:
    """Find a mesh file: package://NAME/REST is looked for as NAME/REST in the URDF's folder and those above it.

    Raises:
        RobotError: no such file.
    """
    name = filename.removeprefix("file://")
    if filename.startswith("package://"):
        name = filename.removeprefix("package://")
        for base in (folder, *folder.parents):
            if (base / name).is_file():
                return base / name
    elif (folder / name).is_file():
        return folder / name
    raise RobotError(f"mesh not found: {filename} (looked in {folder}"
                     f"{' and the folders above it' if filename.startswith('package://') else ''})",
                     "Copy it there or correct the URDF's <mesh filename>")


def _shape(geometry: ET.Element, folder: Path, coarse: bool, what: str) -> tuple[Float, primitives.Triangles]:
    shape = next(iter(geometry), None)
    kind = shape.tag if shape is not None else "nothing"
    if shape is None or kind not in ("mesh", "box", "sphere", "cylinder", "capsule"):
        raise RobotError(f"{what} has the geometry {kind!r}, expected mesh, box, sphere, cylinder or capsule",
                         "Correct the URDF")
    if kind == "mesh":
        if not shape.get("filename"):
            raise RobotError(f"{what} has a mesh without a filename", "Correct the URDF")
        vertices, triangles = load_mesh(resolve_mesh(shape.get("filename", ""), folder))
        scale = numbers(shape.get("scale"), 3, "1 1 1", f"mesh scale of {what}")
        # A mirror image turns the triangles inside out; turn them back.
        return vertices * scale, triangles if np.prod(scale) > 0 else triangles[:, ::-1]
    if kind == "box":
        return primitives.box(numbers(shape.get("size"), 3, "", f"box size of {what}"))
    radius = float(numbers(shape.get("radius"), 1, "", f"radius of {what}")[0])
    if kind == "sphere":
        return primitives.sphere(radius, coarse)
    length = float(numbers(shape.get("length"), 1, "", f"length of {what}")[0])
    return (primitives.cylinder if kind == "cylinder" else primitives.capsule)(radius, length, coarse)


def _read_link(element: ET.Element, folder: Path, coarse: bool) -> Link:
    name = element.get("name", "")
    vertices, triangles, start = [np.zeros((0, 3))], [np.zeros((0, 3), dtype=np.int32)], 0
    # Like PyBullet, show the collision shape of a link that has no visual one.
    for visual in element.findall("visual") or element.findall("collision"):
        geometry = visual.find("geometry")
        if geometry is None:
            raise RobotError(f"a visual of link {name!r} has no geometry", "Correct the URDF")
        points, faces = _shape(geometry, folder, coarse, f"link {name!r}")
        place = origin_of(visual, f"a visual of link {name!r}")
        vertices.append(points @ place[:3, :3].T + place[:3, 3])
        triangles.append(faces + start)
        start += len(points)
    return Link(name, np.concatenate(vertices).astype(np.float32), np.concatenate(triangles).astype(np.int32))


def _read_joint(element: ET.Element, index: dict[str, int]) -> Joint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in KINDS:
        raise RobotError(f"joint {name!r} has the type {kind!r}, expected one of {', '.join(KINDS)}",
                         "Correct the URDF")
    if kind in ("floating", "planar"):
        raise RobotError(f"joint {name!r} is {kind}, which has no single coordinate", "Make it fixed or split it")
    ends = []
    for role in ("parent", "child"):
        end = element.find(role)
        link = end.get("link", "") if end is not None else ""
        if link not in index:
            raise RobotError(f"joint {name!r} names the {role} link {link!r}, which the URDF does not have",
                             "Correct the URDF")
        ends.append(index[link])
    axis_element, limit = element.find("axis"), element.find("limit")
    axis = numbers(axis_element.get("xyz") if axis_element is not None else None, 3, "1 0 0", f"axis of joint {name!r}")
    if kind != "fixed" and np.linalg.norm(axis) < 1e-9:
        raise RobotError(f"joint {name!r} has the axis 0 0 0", "Correct the URDF")
    axis = axis / (np.linalg.norm(axis) or 1.0)
    lower, upper = -CONTINUOUS_LIMIT_RAD, CONTINUOUS_LIMIT_RAD
    if kind in ("revolute", "prismatic"):
        if limit is None:
            raise RobotError(f"joint {name!r} is {kind} and has no <limit>", "Add its lower and upper limits")
        lower = float(numbers(limit.get("lower"), 1, "0", f"lower limit of joint {name!r}")[0])
        upper = float(numbers(limit.get("upper"), 1, "0", f"upper limit of joint {name!r}")[0])
        if lower > upper:
            raise RobotError(f"joint {name!r} has the lower limit {lower} above the upper {upper}", "Correct the URDF")
    # A joint that cannot move is no coordinate; a mimic joint has none of its own.
    actuated = kind in ("revolute", "continuous") and element.find("mimic") is None and lower < upper
    rest = 0.0 if kind == "fixed" else float(np.clip(0.0, lower, upper))
    origin = origin_of(element, f"joint {name!r}")
    return Joint(name, kind, ends[0], ends[1], origin, axis, lower, upper, actuated, rest)


def _in_tree_order(joints: list[Joint], names: list[str]) -> tuple[list[int], list[Joint]]:
    """Order links and joints from the root outwards, siblings as the file has them."""
    parents = {}
    for joint in joints:
        if joint.child in parents:
            raise RobotError(f"link {names[joint.child]!r} has two parent joints", "A URDF is a tree: remove one")
        parents[joint.child] = joint
    roots = [i for i in range(len(names)) if i not in parents]
    if len(roots) != 1:
        found = ", ".join(repr(names[i]) for i in roots[:4]) or "none"
        raise RobotError(f"the URDF has {len(roots)} root links ({found}), expected 1",
                         "Connect every link to one root by joints")
    links, ordered = [roots[0]], []
    by_parent: dict[int, list[Joint]] = {}
    for joint in joints:
        by_parent.setdefault(joint.parent, []).append(joint)
    stack = list(reversed(by_parent.get(roots[0], [])))
    while stack:
        joint = stack.pop()
        ordered.append(joint)
        links.append(joint.child)
        stack.extend(reversed(by_parent.get(joint.child, [])))
    if len(links) != len(names):
        raise RobotError(f"the URDF's joints form a loop: {len(names) - len(links)} links hang on no root",
                         "A URDF is a tree: break the loop")
    return links, ordered


def parse_urdf(text: str, read_link: Callable[[ET.Element], Link]) -> Description:
    """Read a URDF.

    Args:
        text: the URDF.
        read_link: makes a Link of a <link> element: `link_reader`, or one that has the geometry already.

    Returns:
        links and joints in tree order; links[0] is the root.

    Raises:
        RobotError: malformed, not a tree, or it uses what is not supported.
    """
    root = parse_xml(text, "the URDF")
    if root.tag != "robot":
        raise RobotError(f"the URDF's root element is <{root.tag}>, expected <robot>", "Give a URDF file")
    elements = root.findall("link")
    names = [element.get("name", "") for element in elements]
    for what, found in (("link", names), ("joint", [e.get("name", "") for e in root.findall("joint")])):
        twice = [n for n in found if not n or found.count(n) > 1]
        if twice:
            raise RobotError(f"the URDF has a {what} name that is empty or used twice: {twice[0]!r}", "Rename it")
    index = {name: i for i, name in enumerate(names)}
    order, joints = _in_tree_order([_read_joint(e, index) for e in root.findall("joint")], names)
    place = {old: new for new, old in enumerate(order)}
    links = tuple(read_link(elements[i]) for i in order)
    moved = tuple(Joint(j.name, j.kind, place[j.parent], place[j.child], j.origin, j.axis, j.lower, j.upper, j.actuated,
                        j.rest) for j in joints)
    return Description(root.get("name") or "robot", links, moved)


def link_reader(folder: Path, coarse: bool) -> Callable[[ET.Element], Link]:
    """Return the reader that loads meshes beside the URDF; coarse: primitives as TinyRenderer draws them."""
    return lambda element: _read_link(element, folder, coarse)
