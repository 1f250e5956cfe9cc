"""A RobotSpec for PyBullet: dynamics alone, or with the geometry written beside the URDF."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from edgekin.robot.mesh import parse_xml
from edgekin.robot.spec import Link, RobotSpec


def _bare(spec: RobotSpec) -> ET.Element:
    root = parse_xml(spec.urdf, "the URDF")
    for link in root.findall("link"):
        for part in link.findall("visual") + link.findall("collision"):
            link.remove(part)
    return root


def dynamics_urdf(spec: RobotSpec) -> str:
    """Return the URDF without shapes: it needs no mesh file, and nothing collides.

    Load it with URDF_USE_INERTIA_FROM_FILE: PyBullet otherwise takes the inertia from the collision shapes.
    """
    return ET.tostring(_bare(spec), encoding="unicode")


def _write_obj(link: Link, path: Path) -> None:
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in link.vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in link.triangles.tolist()]
    path.write_text("\n".join(lines) + "\n")


def export_urdf(spec: RobotSpec, folder: Path) -> Path:
    """Write a URDF that shows exactly the spec's geometry, one OBJ a link, into a folder that exists.

    Returns:
        the URDF's path.
    """
    root = _bare(spec)
    elements = {e.get("name", ""): e for e in root.findall("link")}
    for index, link in enumerate(spec.links):
        if len(link.triangles) == 0:
            continue
        name = f"link{index}.obj"
        _write_obj(link, folder / name)
        geometry = ET.SubElement(ET.SubElement(elements[link.name], "visual"), "geometry")
        ET.SubElement(geometry, "mesh", filename=name)
    path = folder / "robot.urdf"
    path.write_text(ET.tostring(root, encoding="unicode"))
    return path
