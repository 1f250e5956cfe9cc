"""Mesh files: STL (binary and ASCII), OBJ and COLLADA, as vertices and triangles. Numpy only."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekin.errors import RobotError

Vertices = NDArray[np.float64]
Triangles = NDArray[np.int32]

#: A mesh beyond this is refused before it is read: no robot needs it, and a device has little memory.
MAX_MESH_BYTES = 256 * 1024 * 1024
_STL_RECORD = np.dtype([("normal", "<f4", 3), ("corner", "<f4", (3, 3)), ("attribute", "<u2")])


def parse_xml(text: str, what: str) -> ET.Element:
    """Parse XML that declares no document type, so that no entity can expand or reach out.

    Raises:
        RobotError: not well-formed, or it holds a document type or entity declaration.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise RobotError(f"{what} declares a document type or entities, which are refused", "Remove its DOCTYPE")
    try:
        return ET.fromstring(text.encode())
    except ET.ParseError as error:
        raise RobotError(f"{what} is not well-formed XML: {error}", "Correct it at that line") from None


def load_mesh(path: Path) -> tuple[Vertices, Triangles]:
    """Read a mesh file.

    Returns:
        vertices (V, 3) float64 in the file's unit (COLLADA: metres), triangles (T, 3) int32.

    Raises:
        RobotError: missing, too large, of an unknown kind, malformed, or with coordinates that are not finite.
    """
    readers = {".stl": _read_stl, ".obj": _read_obj, ".dae": _read_dae}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise RobotError(f"mesh {path} is of an unknown kind {path.suffix!r}, expected STL, OBJ or DAE",
                         "Convert it, for instance with meshlab")
    if not path.is_file():
        raise RobotError(f"mesh not found: {path}", "Copy it there or correct the URDF's <mesh filename>")
    if path.stat().st_size > MAX_MESH_BYTES:
        raise RobotError(f"mesh {path} has {path.stat().st_size} bytes, expected at most {MAX_MESH_BYTES}",
                         "Simplify the mesh")
    try:
        vertices, triangles = reader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OSError) as error:
        raise RobotError(f"mesh {path} cannot be read: {error}", "Export it again") from None
    if len(triangles) and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise RobotError(f"mesh {path} names vertex {int(triangles.max())} of {len(vertices)}", "Export it again")
    if not np.isfinite(vertices).all():
        raise RobotError(f"mesh {path} holds coordinates that are not finite", "Export it again")
    return vertices, triangles.astype(np.int32)


def _read_stl(path: Path) -> tuple[Vertices, Triangles]:
    data = path.read_bytes()
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else -1
    if count >= 0 and len(data) == 84 + count * _STL_RECORD.itemsize:
        corners = np.frombuffer(data, _STL_RECORD, count, 84)["corner"].astype(np.float64).reshape(-1, 3)
    elif data.lstrip()[:5] == b"solid":
        numbers = [line.split()[1:4] for line in data.decode("ascii", "replace").splitlines()
                   if line.strip().startswith("vertex")]
        corners = np.array(numbers, dtype=np.float64).reshape(-1, 3)
        if len(corners) % 3 or b"endsolid" not in data:
            raise ValueError("the ASCII STL ends early")
    else:
        raise ValueError(f"the STL announces {count} triangles, which does not fit its {len(data)} bytes")
    return corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3)


def _read_obj(path: Path) -> tuple[Vertices, Triangles]:
    """Faces become fans around their first corner, as tinyobjloader (behind PyBullet) makes them."""
    points: list[list[str]] = []
    triangles: list[tuple[int, int, int]] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("v "):
                points.append(line.split()[1:4])
            elif line.startswith("f "):
                corners = [int(part.split("/", 1)[0]) for part in line.split()[1:]]
                corners = [c - 1 if c > 0 else len(points) + c for c in corners]
                triangles.extend((corners[0], corners[k], corners[k + 1]) for k in range(1, len(corners) - 1))
    return np.array(points, dtype=np.float64).reshape(-1, 3), np.array(triangles, dtype=np.int32).reshape(-1, 3)


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element if _local(child) == name]


def _floats(element: ET.Element | None) -> NDArray[np.float64]:
    return np.array((element.text or "").split() if element is not None else [], dtype=np.float64)


def _read_dae(path: Path) -> tuple[Vertices, Triangles]:
    """COLLADA as PyBullet reads it: node transforms and the unit are applied, the up axis is not."""
    root = parse_xml(path.read_text(encoding="utf-8"), f"mesh {path}")
    unit = next((float(e.get("meter", "1")) for e in root.iter() if _local(e) == "unit"), 1.0)
    geometries = {g.get("id", ""): _dae_geometry(g) for g in root.iter() if _local(g) == "geometry"}
    parts: list[tuple[Vertices, Triangles]] = []

    def visit(node: ET.Element, parent: NDArray[np.float64]) -> None:
        pose = parent @ _dae_transform(node)
        for instance in _children(node, "instance_geometry"):
            vertices, triangles = geometries[instance.get("url", "").lstrip("#")]
            parts.append((vertices @ pose[:3, :3].T + pose[:3, 3], triangles))
        for child in _children(node, "node"):
            visit(child, pose)

    for scene in (e for e in root.iter() if _local(e) == "visual_scene"):
        for node in _children(scene, "node"):
            visit(node, np.eye(4))
    if not parts:
        raise ValueError("the COLLADA scene places no geometry")
    starts = np.cumsum([0] + [len(v) for v, _ in parts[:-1]])
    return (unit * np.concatenate([v for v, _ in parts]),
            np.concatenate([t + s for (_, t), s in zip(parts, starts, strict=True)]))


def _dae_transform(node: ET.Element) -> NDArray[np.float64]:
    pose = np.eye(4)
    for step in node:
        kind, value, move = _local(step), _floats(step), np.eye(4)
        if kind == "matrix":
            move = value.reshape(4, 4)
        elif kind == "translate":
            move[:3, 3] = value
        elif kind == "scale":
            move[:3, :3] = np.diag(value)
        elif kind == "rotate":
            axis, angle = value[:3] / np.linalg.norm(value[:3]), np.radians(value[3])
            cross = np.cross(np.eye(3), axis)
            move[:3, :3] = np.eye(3) - np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
        pose = pose @ move
    return pose


def _dae_geometry(geometry: ET.Element) -> tuple[Vertices, Triangles]:
    sources = {s.get("id", ""): s for s in geometry.iter() if _local(s) == "source"}
    positions = {v.get("id", ""): i.get("source", "").lstrip("#") for v in geometry.iter() if _local(v) == "vertices"
                 for i in _children(v, "input") if i.get("semantic") == "POSITION"}
    vertices: list[Vertices] = [np.zeros((0, 3))]
    triangles: list[NDArray[np.int64]] = [np.zeros((0, 3), dtype=np.int64)]
    for group in geometry.iter():
        if _local(group) not in ("triangles", "polylist"):
            continue
        inputs = _children(group, "input")
        stride = 1 + max(int(i.get("offset", "0")) for i in inputs)
        vertex = next(i for i in inputs if i.get("semantic") == "VERTEX")
        source = sources[positions[vertex.get("source", "").lstrip("#")]]
        array = next(e for e in source.iter() if _local(e) == "float_array")
        start = sum(len(v) for v in vertices)
        vertices.append(_floats(array).reshape(-1, 3))
        index = _floats(next(iter(_children(group, "p")), None)).astype(np.int64)
        index = index.reshape(-1, stride)[:, int(vertex.get("offset", "0"))]
        if _local(group) == "triangles":
            triangles.append(start + index.reshape(-1, 3))
            continue
        counts = _floats(next(iter(_children(group, "vcount")))).astype(np.int64)
        for first, count in zip(np.cumsum(counts) - counts, counts, strict=True):
            corner = start + index[first : first + count]
            triangles.append(np.array([(corner[0], corner[k], corner[k + 1]) for k in range(1, count - 1)],
                                      dtype=np.int64).reshape(-1, 3))
    return np.concatenate(vertices), np.concatenate(triangles).astype(np.int32)
