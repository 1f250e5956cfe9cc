"""URDF primitives as triangles: finely, or as coarsely as PyBullet's TinyRenderer draws them. Numpy only."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Vertices = NDArray[np.float64]
Triangles = NDArray[np.int32]

#: Bullet gives its hull of cylinders and capsules a margin of 1 mm (TinyRendererVisualShapeConverter.cpp).
BULLET_MARGIN_M = 0.001
_RING = 32  # sides of a cylinder, there and here


def box(size: NDArray[np.float64]) -> tuple[Vertices, Triangles]:
    """Return the 8 corners and 12 triangles of a box centred at the origin; size (3,) m."""
    corners = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * size
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))]
    return corners, np.array(triangles, dtype=np.int32)


def sphere(radius: float, coarse: bool) -> tuple[Vertices, Triangles]:
    """Return a sphere: 642 vertices, or the 42 that Bullet's hull has."""
    vertices, triangles = _icosphere(1 if coarse else 3)
    return vertices * radius, triangles


def cylinder(radius: float, length: float, coarse: bool) -> tuple[Vertices, Triangles]:
    """Return a cylinder along z: 32 sides, or Bullet's hull of its support points in 42 directions."""
    points = _rings(radius, length)
    if coarse:
        return _bullet_hull(points)
    return _sides(points)


def capsule(radius: float, length: float, coarse: bool) -> tuple[Vertices, Triangles]:
    """Return a capsule along z with `length` between the centres of its caps."""
    if coarse:  # two rings and two poles, as TinyRenderer hulls them
        poles = np.array([(0, 0, length / 2 + radius), (0, 0, -length / 2 - radius)])
        return _bullet_hull(np.concatenate([_rings(radius, length), poles]))
    vertices, triangles = _icosphere(3)
    vertices = vertices * radius
    vertices[:, 2] += np.where(vertices[:, 2] > 1e-9, 0.5, -0.5) * length
    return vertices, triangles


def _rings(radius: float, length: float) -> Vertices:
    angle = 2 * np.pi * np.arange(_RING) / _RING
    ring = np.stack([radius * np.sin(angle), radius * np.cos(angle), np.full(_RING, length / 2)], axis=1)
    return np.concatenate([ring, ring * [1, 1, -1]])


def _sides(rings: Vertices) -> tuple[Vertices, Triangles]:
    vertices = np.concatenate([rings, [[0, 0, rings[0, 2]], [0, 0, -rings[0, 2]]]])
    triangles = []
    for i in range(_RING):  # sin, cos run clockwise seen from +z
        j = (i + 1) % _RING
        triangles += [(j, i, _RING + i), (j, _RING + i, _RING + j), (i, j, 2 * _RING)[::-1],
                      (_RING + i, _RING + j, 2 * _RING + 1)]
    return vertices, np.array(triangles, dtype=np.int32)


def _icosphere(subdivisions: int) -> tuple[Vertices, Triangles]:
    """An icosahedron with poles on z, each triangle split in four per subdivision; the first gives Bullet's 42."""
    z, r = 1 / np.sqrt(5), 2 / np.sqrt(5)
    low = [(r * np.cos(a), r * np.sin(a), -z) for a in np.pi / 5 + 2 * np.pi / 5 * np.arange(5)]
    high = [(r * np.cos(a), r * np.sin(a), z) for a in 2 * np.pi / 5 * np.arange(5)]
    points = np.array([(0, 0, -1), *low, *high, (0, 0, 1)], dtype=np.float64)
    triangles = []
    for i in range(5):
        j = (i + 1) % 5
        triangles += [(0, 1 + j, 1 + i), (1 + i, 1 + j, 6 + j), (1 + i, 6 + j, 6 + i), (6 + i, 6 + j, 11)]
    vertices = list(points)
    for _ in range(subdivisions):
        middle: dict[tuple[int, int], int] = {}

        def between(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                middle[key] = len(vertices)
                vertices.append((vertices[a] + vertices[b]) / np.linalg.norm(vertices[a] + vertices[b]))
            return middle[key]

        finer = []
        for a, b, c in triangles:
            ab, bc, ca = between(a, b), between(b, c), between(c, a)
            finer += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = finer
    return np.array(vertices), np.array(triangles, dtype=np.int32)


def _bullet_hull(points: Vertices) -> tuple[Vertices, Triangles]:
    """What btShapeHull makes of a convex hull: its support points (margin included) in 42 directions, hulled."""
    directions = _icosphere(1)[0] * [-1, 1, 1]  # Bullet's table has its lower ring at +-36 degrees from +x
    support = points[np.argmax(directions @ points.T, axis=1)] + BULLET_MARGIN_M * directions
    return convex_hull(support)


def convex_hull(points: Vertices) -> tuple[Vertices, Triangles]:
    """Return the convex hull of a few points (n^4: meant for tens), outward triangles, flat faces as fans."""
    scale = float(np.abs(points).max()) or 1.0
    triangles: list[tuple[int, int, int]] = []
    done: set[tuple[int, ...]] = set()
    triples = np.array(list(combinations(range(len(points)), 3)))
    a, b, c = (points[triples[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    usable = length > 1e-12 * scale**2
    normals[usable] /= length[usable, None]
    height = normals @ points.T - np.sum(normals * a, axis=1)[:, None]
    tolerance = 1e-7 * scale
    for index in np.flatnonzero(usable & ((height <= tolerance).all(axis=1) | (height >= -tolerance).all(axis=1))):
        face = tuple(np.flatnonzero(np.abs(height[index]) <= tolerance).tolist())
        if face in done:
            continue
        done.add(face)
        outward = normals[index] if (height[index] <= tolerance).all() else -normals[index]
        centre = points[list(face)].mean(axis=0)
        first = points[face[0]] - centre
        across = np.cross(outward, first)
        order = sorted(face, key=lambda i, c=centre, f=first, s=across: float(  # type: ignore[misc]
            np.arctan2((points[i] - c) @ s, (points[i] - c) @ f)))
        triangles += [(order[0], order[k], order[k + 1]) for k in range(1, len(order) - 1)]
    return points, np.array(triangles, dtype=np.int32)
