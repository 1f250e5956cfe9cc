"""Writes the meshes of arm4: tapered tubes, hubs and a gripper, as closed surfaces. Run it here after a change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDES = 20
Part = tuple[NDArray[np.float64], list[tuple[int, ...]]]


def tube(axis: int, start: float, end: float, radius: float, end_radius: float, squash: float = 1.0,
         centre: tuple[float, float, float] = (0, 0, 0)) -> Part:
    """A frustum along an axis from start to end (m) with two radii (m); squash flattens it across."""
    angle = 2 * np.pi * np.arange(SIDES) / SIDES
    rows = []
    for place, r in ((start, radius), (end, end_radius)):
        ring = np.zeros((SIDES, 3))
        ring[:, axis] = place
        ring[:, (axis + 1) % 3], ring[:, (axis + 2) % 3] = r * np.cos(angle), r * squash * np.sin(angle)
        rows.append(ring)
    vertices = np.concatenate(rows) + np.asarray(centre)
    faces: list[tuple[int, ...]] = [(i, (i + 1) % SIDES, SIDES + (i + 1) % SIDES, SIDES + i) for i in range(SIDES)]
    faces += [tuple(range(SIDES))[::-1], tuple(range(SIDES, 2 * SIDES))]
    return vertices, faces


def block(low: tuple[float, float, float], high: tuple[float, float, float]) -> Part:
    """A box between two corners, m."""
    vertices = np.array([[(low, high)[i][0], (low, high)[j][1], (low, high)[k][2]]
                         for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    return vertices, [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


PARTS: dict[str, list[Part]] = {
    "base": [tube(2, 0.0, 0.03, 0.075, 0.070), tube(2, 0.03, 0.10, 0.052, 0.044)],
    "turret": [tube(2, 0.0, 0.05, 0.046, 0.036), tube(1, -0.046, 0.046, 0.032, 0.032, centre=(0, 0, 0.07))],
    "upper_arm": [tube(2, 0.0, 0.20, 0.034, 0.022, 0.8), tube(0, -0.036, 0.036, 0.026, 0.026, centre=(0, 0, 0.21))],
    "forearm": [tube(2, 0.0, 0.15, 0.025, 0.016, 0.8), tube(1, -0.028, 0.028, 0.019, 0.019, centre=(0, 0, 0.16))],
    "hand": [tube(2, 0.0, 0.045, 0.017, 0.013), block((-0.012, -0.036, 0.045), (0.012, 0.036, 0.058)),
             block((-0.007, -0.036, 0.058), (0.007, -0.026, 0.105)),
             block((-0.007, 0.026, 0.058), (0.007, 0.036, 0.105))],
}


def main() -> None:
    folder = Path(__file__).parent / "meshes"
    for name, parts in PARTS.items():
        lines, start = [f"# arm4 {name}, written by generate.py"], 1
        for vertices, faces in parts:
            lines += ["v {:.6f} {:.6f} {:.6f}".format(*v) for v in vertices]
            lines += ["f " + " ".join(str(start + i) for i in face) for face in faces]
            start += len(vertices)
        (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
