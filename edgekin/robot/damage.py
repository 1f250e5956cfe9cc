"""Damage to the body as a transformation of the URDF: what changes is the robot, never the picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

import numpy as np

from edgekin.errors import ConfigError, RobotError
from edgekin.robot.mesh import parse_xml
from edgekin.robot.spec import Float, Joint, Link, RobotSpec
from edgekin.robot.transforms import axis_angle, pose, rotation_to_rpy
from edgekin.robot.urdf import numbers, origin_of

#: kind -> what its number means ("" for none).
KINDS = {"bend": "degrees", "short": "percent", "lost": "", "seized": "", "encoder-bias": "degrees"}
BODY_KINDS = ("bend", "short", "lost")
#: An axis closer than this to the link's own direction (cosine) would twist the link instead of bending it.
NEARLY_PARALLEL = 0.9
_FORMS = "bend:LINK:DEG, short:LINK:PERCENT, lost:LINK, seized:JOINT, encoder-bias:JOINT:DEG, each with @SECONDS or not"


@dataclass(frozen=True)
class Damage:
    """One damage and when it happens."""

    kind: str  # a key of KINDS
    link_or_joint: str  # name, or the 1-based number of the actuated joint (its child link for body damages)
    size: float  # degrees or percent; 0 where the kind has no number
    onset_s: float  # seconds after the start; 0 without @

    def __str__(self) -> str:
        size = f":{self.size:g}" if KINDS[self.kind] else ""
        return f"{self.kind}:{self.link_or_joint}{size}@{self.onset_s:g}"


def parse_damage(text: str) -> Damage:
    """Read `bend:2:20@15`.

    Raises:
        ConfigError: an unknown kind, a missing or superfluous number, or one out of its range.
    """
    body, at, onset = text.partition("@")
    kind, *rest = body.split(":")
    if kind not in KINDS:
        raise ConfigError(f"damage {text!r} is of the unknown kind {kind!r}", f"Write one of {_FORMS}")
    expected = 2 if KINDS[kind] else 1
    if len(rest) != expected or not rest[0]:
        raise ConfigError(f"damage {text!r} has {len(rest)} part(s) after {kind!r}, expected {expected}",
                          f"Write one of {_FORMS}")
    try:
        size = float(rest[1]) if expected == 2 else 0.0
        start = float(onset) if at else 0.0
    except ValueError:
        raise ConfigError(f"damage {text!r} has a number that cannot be read", f"Write one of {_FORMS}") from None
    if not np.isfinite([size, start]).all() or start < 0:
        raise ConfigError(f"damage {text!r} has a number out of range", "Give finite numbers, seconds from 0 on")
    if kind == "short" and not 0 < size < 100:
        raise ConfigError(f"damage {text!r} shortens by {size:g} percent, expected between 0 and 100", "Correct it")
    if kind in ("bend", "encoder-bias") and not 0 < abs(size) <= 180:
        raise ConfigError(f"damage {text!r} turns by {size:g} degrees, expected up to 180 and not 0", "Correct it")
    return Damage(kind, rest[0], size, start)


def damaged_joint(spec: RobotSpec, damage: Damage) -> int:
    """Return the index into spec.joints of the joint that the damage names, by number, by name or by its child link.

    Raises:
        ConfigError: no such joint or link.
    """
    target, actuated = damage.link_or_joint, spec.actuated
    if re.fullmatch(r"\d+", target):
        if 1 <= int(target) <= len(actuated):
            return spec.joints.index(actuated[int(target) - 1])
        raise ConfigError(f"damage {damage} names number {target}, expected 1 to {len(actuated)} for {spec.name}",
                          f"Numbers count the actuated joints: {', '.join(j.name for j in actuated)}")
    for index, joint in enumerate(spec.joints):
        if target in (joint.name, spec.links[joint.child].name):
            if damage.kind in BODY_KINDS or joint.actuated:
                return index
            raise ConfigError(f"damage {damage} names {target!r}, which is not an actuated joint",
                              f"Name one of {', '.join(j.name for j in actuated)}")
    raise ConfigError(f"damage {damage} names {target!r}, which {spec.name} does not have",
                      f"Name one of {', '.join(j.name for j in actuated)}, or a number from 1 to {len(actuated)}")


def _below(spec: RobotSpec, link: int) -> set[int]:
    """The link and all that hang on it."""
    found = {link}
    for joint in spec.joints:  # tree order: parents come first
        if joint.parent in found:
            found.add(joint.child)
    return found


def _direction(spec: RobotSpec, joint: Joint) -> Float:
    """Unit vector (3,) along the link behind a joint, in the link's frame: to the next joint, or to its geometry."""
    for child in (j for j in spec.joints if j.parent == joint.child):
        if np.linalg.norm(child.origin[:3, 3]) > 1e-4:
            return child.origin[:3, 3] / float(np.linalg.norm(child.origin[:3, 3]))
    vertices = spec.links[joint.child].vertices
    centre = vertices.mean(axis=0).astype(np.float64) if len(vertices) else joint.axis
    length = float(np.linalg.norm(centre))
    return centre / length if length > 1e-6 else joint.axis


def _bend(spec: RobotSpec, joint: Joint, degrees: float) -> Float:
    axis, along = joint.axis, _direction(spec, joint)
    if abs(axis @ along) > NEARLY_PARALLEL:
        helper = np.eye(3)[np.argmin(np.abs(along))]
        axis = np.cross(along, helper)
        axis = axis / np.linalg.norm(axis)
    return pose(rotation=axis_angle(axis, np.radians(degrees)))


def _shorten(spec: RobotSpec, joint: Joint, percent: float) -> Float:
    """I - s d d^T: scales by 1 - s along the link's direction d and leaves the rest."""
    along = _direction(spec, joint)
    return pose(rotation=np.eye(3) - percent / 100 * np.outer(along, along))


def _set_origin(element: ET.Element, place: Float) -> None:
    origin = element.find("origin")
    if origin is None:
        origin = ET.Element("origin")
        element.insert(0, origin)
    origin.set("xyz", " ".join(repr(float(v)) for v in place[:3, 3]))
    origin.set("rpy", " ".join(repr(v) for v in rotation_to_rpy(place[:3, :3])))


def _move_children(root: ET.Element, link: str, change: Float, rigid: bool) -> None:
    """Apply the change to all that is fixed to a link in the URDF: its parts and the joints of its children."""
    element = next(e for e in root.findall("link") if e.get("name") == link)
    parts = [e for tag in ("visual", "collision", "inertial") for e in element.findall(tag)]
    for joint in root.findall("joint"):
        parent = joint.find("parent")
        if parent is not None and parent.get("link") == link:
            parts.append(joint)
    for part in parts:
        place = origin_of(part, f"link {link!r}")
        moved = change @ place
        if not rigid:  # the joint and the parts move, they do not shear
            moved[:3, :3] = place[:3, :3]
        _set_origin(part, moved)


def _scale_meshes(root: ET.Element, link: str, change: Float) -> None:
    """Shrink a link's shapes in the URDF along whichever of their own axes lies nearest to the change."""
    element = next(e for e in root.findall("link") if e.get("name") == link)
    for part in element.findall("visual") + element.findall("collision"):
        rotation = origin_of(part, f"link {link!r}")[:3, :3]
        factor = np.diag(rotation.T @ change[:3, :3] @ rotation)
        for mesh in part.iter("mesh"):
            scale = numbers(mesh.get("scale"), 3, "1 1 1", "mesh scale") * factor
            mesh.set("scale", " ".join(repr(float(v)) for v in scale))
        for shape in part.iter("box"):
            size = numbers(shape.get("size"), 3, "", "box size") * factor
            shape.set("size", " ".join(repr(float(v)) for v in size))
        for shape in [*part.iter("cylinder"), *part.iter("capsule")]:
            shape.set("length", repr(float(numbers(shape.get("length"), 1, "", "length")[0] * factor[2])))


def apply_damage(spec: RobotSpec, damage: Damage) -> RobotSpec:
    """Return the robot with its body damaged; joints, limits, base and cameras stay as they were.

    bend: the link and all downstream turn about the link's proximal end, about the joint's axis, or across the link
    where that axis runs along it. short: the link shrinks along its direction and all downstream moves up. lost: the
    link and all downstream are no longer seen.

    Raises:
        ConfigError: the link does not exist, or the kind is not one of the body's (seized and encoder-bias change how
            the arm moves and are applied where it is simulated).
    """
    if damage.kind not in BODY_KINDS:
        raise ConfigError(f"damage {damage} does not change the body", "Apply it in the simulated arm")
    joint = spec.joints[damaged_joint(spec, damage)]
    root = parse_xml(spec.urdf, "the URDF")
    links, joints = list(spec.links), list(spec.joints)
    if damage.kind == "lost":
        for index in _below(spec, joint.child):
            element = next(e for e in root.findall("link") if e.get("name") == links[index].name)
            for part in element.findall("visual") + element.findall("collision"):
                element.remove(part)
            links[index] = Link(links[index].name, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
        if not any(len(link.triangles) for link in links):
            raise RobotError(f"damage {damage} leaves nothing of {spec.name} to see", "Damage a link further out")
    else:
        rigid = damage.kind == "bend"
        change = _bend(spec, joint, damage.size) if rigid else _shorten(spec, joint, damage.size)
        link = links[joint.child]
        links[joint.child] = Link(link.name, (link.vertices @ change[:3, :3].T).astype(np.float32), link.triangles)
        for index, other in enumerate(joints):
            if other.parent == joint.child:
                moved = change @ other.origin
                if not rigid:
                    moved[:3, :3] = other.origin[:3, :3]
                joints[index] = replace(other, origin=moved)
        _move_children(root, link.name, change, rigid)
        if not rigid:
            _scale_meshes(root, link.name, change)
    return replace(spec, urdf=ET.tostring(root, encoding="unicode"), links=tuple(links), joints=tuple(joints))
