"""Pictures of a field: the plain ray-marcher, which is the reference, and the one that skips empty space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from edgekin.models.field_graph import DARKEST, EMPTY, MOST, SAMPLES

if TYPE_CHECKING:
    from edgekin.models.ffksm import FreeForm

#: Points that go through the network at once: their features stay in the cache.
CHUNK = 2048
#: Cells on a side of the grid that space is skipped by, and the opacity of a sample from which its cell is kept.
CELLS, KEEP = 24, 2e-3


def logits(thickness: Tensor, background: Tensor | None) -> Tensor:
    """Return log-odds of pixels from their rays' optical depth, (B, P) nats, and the static layer (P,) in log-odds."""
    thickness = thickness + (EMPTY if background is None else functional.softplus(background))
    thickness = DARKEST - functional.softplus(DARKEST - thickness)
    return torch.log(-torch.expm1(-thickness)) + thickness


def thickness_of(model: FreeForm, raw: Tensor, step: Tensor | float) -> Tensor:
    """Return the optical depth of samples, nats."""
    return -torch.log1p(-model.field.opacity(raw, step).clamp(max=MOST))


@dataclass(frozen=True)
class Marched:
    """The samples of one pose's rays that cross the workspace."""

    rays: Tensor  # (R,) indices among all rays
    points: Tensor  # (R, S, 3) m, the samples
    step: Tensor  # (R,) what opacity calls step


def samples_of(model: FreeForm, centre: Tensor, only: Tensor | None = None) -> Marched:
    """Return the samples of the rays that cross the workspace about `centre` (3,) m, of `only` some where given."""
    rays, span = model.rays(), 2.0 * model.radius
    enter, leave = model.chord(centre)
    crossed = leave > enter if only is None else (leave > enter) & only
    index = crossed.nonzero()[:, 0]
    t0, length = enter[index], (leave - enter)[index]
    at = (torch.arange(SAMPLES, dtype=t0.dtype, device=t0.device) + 0.5) / SAMPLES
    t = t0[:, None] + length[:, None] * at
    points = rays.origin[index, None] + t[..., None] * rays.direction[index, None]
    return Marched(index, points, length / span)


def plain(model: FreeForm, q: Tensor) -> Tensor:
    """Return the optical depth of every ray at one pose, every sample evaluated.

    Args:
        model: the model.
        q: (J,) rad.

    Returns:
        (V * H * W,) nats.
    """
    pose = model.pose(q[None])
    marched = samples_of(model, pose.centre[0])
    flat = marched.points.reshape(1, -1, 3)
    raw = torch.cat([model.raw(pose, part)[0] for part in torch.split(flat, CHUNK, dim=1)])
    deep = thickness_of(model, raw.reshape(-1, SAMPLES, 2), marched.step[:, None]).sum(dim=1)
    return torch.zeros(len(model.rays().origin), dtype=deep.dtype, device=deep.device).index_add(0, marched.rays, deep)


def occupied_cells(model: FreeForm, q: Tensor) -> Tensor:
    """Return which cells of the cube about the workspace hold something, and their neighbours: (G, G, G) bool.

    Every cell's centre is evaluated; a cell next to one that is kept is kept, too, so that what lies between two
    centres is not lost.
    """
    pose = model.pose(q[None])
    local = model.cell_centres()
    inside = (local.square().sum(-1) <= (model.radius * (1.0 + 2.0 / CELLS)) ** 2).nonzero()[:, 0]
    points = (local[inside] + pose.centre[0])[None]
    raw = torch.cat([model.raw(pose, part)[0] for part in torch.split(points, CHUNK, dim=1)])
    full = torch.zeros(CELLS**3, dtype=points.dtype, device=points.device)
    full[inside] = (model.field.opacity(raw, 1.0) > KEEP).to(full.dtype)
    grown = functional.max_pool3d(full.reshape(1, 1, CELLS, CELLS, CELLS), 3, stride=1, padding=1)
    return grown[0, 0] > 0


def touched(model: FreeForm, centre: Tensor, cells: Tensor) -> Tensor:
    """Return the rays that may pass kept cells, (V * H * W,) bool: the cells' spheres boxed in every picture."""
    middle = model.cell_centres()[cells.reshape(-1)] + centre
    half = model.radius / CELLS * 3**0.5
    seen = []
    for camera in model.robot.cameras:
        turn = torch.as_tensor(camera.world_to_cam, dtype=middle.dtype, device=middle.device)
        x = middle @ turn[:3, :3].T + turn[:3, 3]
        near = x[:, 2] - half
        z = near.clamp(min=camera.near)
        corners = torch.zeros(camera.height + 1, camera.width + 1, dtype=torch.int64, device=middle.device)
        # What a sphere's ends project to at its least and its greatest depth bounds it; plus the convention's pixel.
        box = []
        for axis, focal, origin, size in ((1, camera.fy, camera.cy, camera.height), (0, camera.fx, camera.cx,
                                                                                     camera.width)):
            ends = torch.stack([(x[:, axis] + s * half) * focal / d for s in (-1, 1) for d in (z, x[:, 2] + half)])
            low, high = ends.amin(0) + origin - 2.0, ends.amax(0) + origin + 2.0
            box.append((low.floor().clamp(0, size).long(), high.ceil().clamp(0, size).long()))
        (v0, v1), (u0, u1) = box
        for rows, columns, sign in ((v0, u0, 1), (v0, u1, -1), (v1, u0, -1), (v1, u1, 1)):
            corners.index_put_((rows, columns), torch.full_like(rows, sign), accumulate=True)
        seen.append((corners.cumsum(0).cumsum(1)[:-1, :-1] > 0).reshape(-1))
    return torch.cat(seen)


def accelerated(model: FreeForm, q: Tensor) -> Tensor:
    """Return what `plain` does, evaluating only the samples in occupied cells of this pose's grid.

    Rays that no such cell touches are not marched at all. What is left out is opacity below KEEP a sample.
    """
    pose = model.pose(q[None])
    centre = pose.centre[0]
    cells = occupied_cells(model, q)
    marched = samples_of(model, centre, touched(model, centre, cells))
    place = ((marched.points - centre) / (2.0 * model.radius) + 0.5) * CELLS
    cell = place.floor().long().clamp(0, CELLS - 1)
    kept = cells.reshape(-1)[(cell[..., 0] * CELLS + cell[..., 1]) * CELLS + cell[..., 2]]
    ray, sample = kept.nonzero(as_tuple=True)
    points = marched.points[ray, sample][None]
    raws = [model.raw(pose, part)[0] for part in torch.split(points, CHUNK, dim=1)]
    out = torch.zeros(len(model.rays().origin), dtype=points.dtype, device=points.device)
    if not len(ray):
        return out
    return out.index_add(0, marched.rays[ray], thickness_of(model, torch.cat(raws), marched.step[ray]))
