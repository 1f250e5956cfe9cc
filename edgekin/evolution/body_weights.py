"""What a body model inherits: its parent's ellipsoids, some dropped, merged or parted in two."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body_file import rotation
from edgekin.evolution.body_space import BodySpace
from edgekin.evolution.genome import Genome
from edgekin.robot.transforms import quaternion

F32 = NDArray[np.float32]
Tensors = dict[str, F32]
#: Parameters of an ellipsoid, in the order of columns: centre, log half axes, quaternion, sharpness, opacity.
COLUMNS = {"centre": slice(0, 3), "log_radius": slice(3, 6), "rotation": slice(6, 10), "sharpness": slice(10, 11),
           "opacity": slice(11, 12)}
WIDTH = 12
#: Parting an ellipsoid divides its longest axis by it. Source: Kerbl et al., 3D Gaussian Splatting (2023), section 5.2.
PARTED = 1.6


def inherited(parent: Genome, tensors: Mapping[str, F32], child: Genome, rng: np.random.Generator,
              length_m: float) -> Tensors:
    """Return a child's ellipsoids (count, 12) for every part, made of its parent's; what else there is, is kept.

    Args:
        parent: whose ellipsoids they are.
        tensors: by the parts' innovation numbers.
        child: says how many.
        rng: places the first ellipsoid of a part.
        length_m: of a usual part.
    """
    out = {name: value for name, value in tensors.items() if name.startswith("body.")}
    for gene in child.of_kind("part"):
        rows = tensors.get(str(gene.innovation), np.zeros((0, WIDTH), dtype=np.float32))
        wanted = int(gene["count"])
        if wanted and not len(rows):
            rows = fresh(1, rng, length_m)
        while len(rows) > wanted:
            merge = gene["merge"] and len(rows) > 1
            rows = merged(rows) if merge else np.delete(rows, importance(rows).argmin(), axis=0)
        while len(rows) < wanted:
            rows = parted(rows)
        out[str(gene.innovation)] = np.ascontiguousarray(rows, dtype=np.float32)
    return out


def fresh(n: int, rng: np.random.Generator, length_m: float) -> F32:
    """Return ellipsoids (n, 12) about a part's origin."""
    from edgekin.models.k3dgs import OPACITY, RADIUS, SCATTER, SHARPNESS

    rows = np.zeros((n, WIDTH), dtype=np.float32)
    rows[:, COLUMNS["centre"]] = SCATTER * length_m * rng.standard_normal((n, 3))
    rows[:, COLUMNS["log_radius"]] = np.log(RADIUS * length_m)
    rows[:, COLUMNS["rotation"]] = rng.standard_normal((n, 4))
    rows[:, COLUMNS["sharpness"]], rows[:, COLUMNS["opacity"]] = SHARPNESS, OPACITY
    return rows


def importance(rows: F32) -> F32:
    """Return how much of a picture each of (n, 12) ellipsoids covers, about: opacity times its usual cross-section."""
    opacity = 1 / (1 + np.exp(-rows[:, 11]))
    return np.asarray(opacity * np.exp(rows[:, COLUMNS["log_radius"]].sum(axis=1) * (2 / 3)), dtype=np.float32)


def parted(rows: F32) -> F32:
    """Part the largest of (n, 12) ellipsoids along its longest axis into two."""
    of = int(importance(rows).argmax())
    radii = rows[of, COLUMNS["log_radius"]]
    longest = int(radii.argmax())
    shift = rotation(rows[of, COLUMNS["rotation"]].astype(np.float64))[:, longest] * np.exp(radii[longest]) * 0.5
    two = np.repeat(rows[of : of + 1], 2, axis=0)
    two[:, COLUMNS["centre"]] += np.stack([shift, -shift])
    two[:, 3 + longest] -= np.log(PARTED)
    return np.concatenate([np.delete(rows, of, axis=0), two])


def merged(rows: F32) -> F32:
    """Merge the two nearest of (n, 12) ellipsoids into one of the same mean and spread."""
    centre = rows[:, COLUMNS["centre"]].astype(np.float64)
    apart = np.linalg.norm(centre[:, None] - centre[None], axis=2) + np.diag(np.full(len(rows), np.inf))
    pair = np.array(np.unravel_index(apart.argmin(), apart.shape))
    share = importance(rows[pair]).astype(np.float64)
    share = share / share.sum()
    mean = share @ centre[pair]
    spread = np.zeros((3, 3))
    for i, s in zip(pair, share, strict=True):
        axes = rotation(rows[i, COLUMNS["rotation"]].astype(np.float64)) * np.exp(rows[i, COLUMNS["log_radius"]])
        off = centre[i] - mean
        # A ball's points are spread by a fifth of its squared radius: so far apart do centres count.
        spread += s * (axes @ axes.T + 5 * np.outer(off, off))
    values, axes = np.linalg.eigh(spread)
    one = (share @ rows[pair].astype(np.float64)).astype(np.float32)
    one[COLUMNS["centre"]], one[COLUMNS["log_radius"]] = mean, 0.5 * np.log(values)
    x, y, z, w = quaternion(axes if np.linalg.det(axes) > 0 else -axes)
    one[COLUMNS["rotation"]] = w, x, y, z
    return np.concatenate([np.delete(rows, pair, axis=0), one[None]])


def by_part(space: BodySpace, genome: Genome, links: NDArray[np.int64], rows: F32) -> tuple[Genome, Tensors]:
    """Return ellipsoids (N, 12) by part, and the genome with as many as there are: training moves and drops some."""
    parts = {int(g["link"]): g for g in genome.of_kind("part")}
    tensors = {str(g.innovation): rows[links == link] for link, g in parts.items()}
    return genome.put(*(g.having(count=int((links == link).sum())) for link, g in parts.items())), tensors
