"""Events that change the robot or its cameras, as transformations of the RobotSpec: never of the picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edgekin.errors import ConfigError, RobotError
from edgekin.robot.events import Event, event_joint
from edgekin.robot.mesh import parse_xml
from edgekin.robot.primitives import box
from edgekin.robot.spec import Float, Joint, Link, RobotSpec
from edgekin.robot.transforms import axis_angle, pose, rotation_to_rpy
from edgekin.robot.urdf import numbers, origin_of

#: An axis closer than this to the link's own direction (cosine) would twist the link instead of bending it.
NEARLY_PARALLEL = 0.9
#: A carried tool is this share of its length wide.
TOOL_WIDTH = 0.4
_BUMP_STREAM = 1  # of the seed, so that nothing else draws from it


def below(spec: RobotSpec, link: int) -> set[int]:
    """The link and all that hang on it."""
    found = {link}
    for joint in spec.joints:  # tree order: parents come first
        if joint.parent in found:
            found.add(joint.child)
    return found


def link_direction(spec: RobotSpec, joint: Joint) -> Float:
    """Unit vector (3,) along the link behind a joint, in the link's frame: to the next joint, or to its geometry."""
    for child in (j for j in spec.joints if j.parent == joint.child):
        if np.linalg.norm(child.origin[:3, 3]) > 1e-4:
            return child.origin[:3, 3] / float(np.linalg.norm(child.origin[:3, 3]))
    vertices = spec.links[joint.child].vertices
    centre = vertices.mean(axis=0).astype(np.float64) if len(vertices) else joint.axis
    length = float(np.linalg.norm(centre))
    return centre / length if length > 1e-6 else joint.axis


def _bend(spec: RobotSpec, joint: Joint, degrees: float) -> Float:
    axis, along = joint.axis, link_direction(spec, joint)
    if abs(axis @ along) > NEARLY_PARALLEL:
        helper = np.eye(3)[np.argmin(np.abs(along))]
        axis = np.cross(along, helper)
        axis = axis / np.linalg.norm(axis)
    return pose(rotation=axis_angle(axis, np.radians(degrees)))


def _twist(spec: RobotSpec, joint: Joint, degrees: float) -> Float:
    return pose(rotation=axis_angle(link_direction(spec, joint), np.radians(degrees)))


def _shorten(spec: RobotSpec, joint: Joint, percent: float) -> Float:
    """I - s d d^T: scales by 1 - s along the link's direction d and leaves the rest."""
    along = link_direction(spec, joint)
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


def _lose(spec: RobotSpec, event: Event, joint: Joint) -> RobotSpec:
    root, links = parse_xml(spec.urdf, "the URDF"), list(spec.links)
    for index in below(spec, joint.child):
        element = next(e for e in root.findall("link") if e.get("name") == links[index].name)
        for part in element.findall("visual") + element.findall("collision"):
            element.remove(part)
        links[index] = Link(links[index].name, np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    if not any(len(link.triangles) for link in links):
        raise RobotError(f"damage {event} leaves nothing of {spec.name} to see", "Damage a link further out")
    return replace(spec, urdf=ET.tostring(root, encoding="unicode"), links=tuple(links))


def _deform(spec: RobotSpec, joint: Joint, change: Float, rigid: bool) -> RobotSpec:
    """Change a link in its own frame, and move what hangs on it."""
    root, links, joints = parse_xml(spec.urdf, "the URDF"), list(spec.links), list(spec.joints)
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


def _last_link(spec: RobotSpec) -> Joint:
    """The joint whose child is the outermost link that can be seen."""
    for last in reversed(spec.actuated):
        beyond = below(spec, last.child)
        seen = [j for j in spec.joints if j.child in beyond and len(spec.links[j.child].triangles)]
        if seen:
            return seen[-1]
    return spec.actuated[-1]


def _carry(spec: RobotSpec, centimetres: float) -> RobotSpec:
    """A box on the last link, from its far end outwards, as long as asked for."""
    joint, length = _last_link(spec), centimetres / 100
    link, along = spec.links[joint.child], link_direction(spec, joint)
    far = float((link.vertices @ along).max()) if len(link.vertices) else 0.0
    across = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    across = across / np.linalg.norm(across)
    place = pose(along * (far + length / 2), np.stack([across, np.cross(along, across), along], axis=1))
    size = np.array([TOOL_WIDTH * length, TOOL_WIDTH * length, length])
    points, faces = box(size)
    vertices = np.concatenate([link.vertices, (points @ place[:3, :3].T + place[:3, 3]).astype(np.float32)])
    links = list(spec.links)
    links[joint.child] = Link(link.name, vertices, np.concatenate([link.triangles, faces + len(link.vertices)]))
    root = parse_xml(spec.urdf, "the URDF")
    element = next(e for e in root.findall("link") if e.get("name") == link.name)
    if not element.findall("visual"):  # what is seen are its collision shapes, unless there is a visual one
        for shape in element.findall("collision"):
            ET.SubElement(element, "visual").extend(shape)
    visual = ET.SubElement(element, "visual")
    _set_origin(visual, place)
    ET.SubElement(ET.SubElement(visual, "geometry"), "box", size=" ".join(repr(float(v)) for v in size))
    return replace(spec, urdf=ET.tostring(root, encoding="unicode"), links=tuple(links))


def _bump(spec: RobotSpec, degrees: float, seed: int) -> RobotSpec:
    """Turn one camera about its own centre."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BUMP_STREAM,)))
    direction, number = rng.uniform(0, 2 * np.pi), int(rng.integers(len(spec.cameras)))
    turn = pose(rotation=axis_angle((np.cos(direction), np.sin(direction), 0.0), np.radians(degrees)))
    cameras = list(spec.cameras)
    cameras[number] = replace(cameras[number], world_to_cam=turn @ cameras[number].world_to_cam)
    return replace(spec, cameras=tuple(cameras))


def apply_damage(spec: RobotSpec, event: Event, seed: int = 0) -> RobotSpec:
    """Return the robot as an event of the body or of a camera leaves it; joints, limits and base stay as they were.

    bend: the link and all downstream turn about the link's proximal end, about the joint's axis, or across the link
    where that axis runs along it. twist: they turn about the link's direction. short: the link shrinks along its
    direction and all downstream moves up. lost: the link and all downstream are no longer seen. tool: a box on the last
    link. camera-bump: one camera turns about an axis across its view.

    Args:
        spec: the robot.
        event: one that acts on the scene.
        seed: of the camera and the axis.

    Raises:
        ConfigError: the link does not exist, or the event acts on motion, encoders or pictures (edgekin.sim).
        RobotError: nothing would be left to see.
    """
    if event.entry.acts_on != "scene":
        raise ConfigError(f"damage {event} does not change the body", "Apply it in the simulated arm")
    if event.kind == "camera-bump":
        return _bump(spec, event.size, seed)
    if event.kind == "tool":
        return _carry(spec, event.size)
    joint = spec.joints[event_joint(spec, event)]
    if event.kind == "lost":
        return _lose(spec, event, joint)
    if event.kind == "short":
        return _deform(spec, joint, _shorten(spec, joint, event.size), rigid=False)
    turn = _bend(spec, joint, event.size) if event.kind == "bend" else _twist(spec, joint, event.size)
    return _deform(spec, joint, turn, rigid=True)


def scenes(spec: RobotSpec, events: Iterable[Event], seed: int = 0) -> list[tuple[float, RobotSpec]]:
    """Return the robot as it is from each onset on, the first as it was: [(onset_s, spec), ...] in order of time."""
    out = [(-np.inf, spec)]
    for event in sorted(events, key=lambda e: e.onset_s):
        if event.entry.acts_on == "scene":
            out.append((event.onset_s, apply_damage(out[-1][1], event, seed)))
    return out
