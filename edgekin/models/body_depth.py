"""What a body model's depth costs: some robot pixels of a batch, each with every ellipsoid, in plain torch.

A ray meets the ellipsoids one behind the other and is stopped by each with its opacity there, so what lies in front
counts most; each is charged the distance of its front from the truth. Silhouettes alone leave depth open: an ellipsoid
that hides in front of another is only seen here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgekin.models import body_reference
from edgekin.models.body import CAMERA, ELLIPSOID, sections
from edgekin.models.registry import Batch
from edgekin.robot.kinematics import link_poses
from edgekin.robot.spec import RobotSpec

#: Robot pixels looked at in a step: a body is smooth, so few of them say how far it is.
PIXELS = 256
#: Of a metre beside a nat per pixel of the silhouettes.
WEIGHT = 0.5
#: Squared half chord, in units of the ellipsoid, below which a ray counts as touching: its root has no derivative.
TOUCH = 1e-3


def depth_loss(spec: RobotSpec, links: Tensor, parameters: Tensor, batch: Batch, chain: bool) -> Tensor:
    """Return WEIGHT times the mean distance between fronts and truth, over some robot pixels.

    Args:
        spec: kinematic tree and cameras.
        links: (N,) the link of each ellipsoid.
        parameters: the flat array of edgekin.models.body.
        batch: with depth; its rng draws the pixels.
        chain: whether the joints' corrections are learned; otherwise they are none.
    """
    q, truth, rng = batch.q, batch.depth, batch.rng
    assert truth is not None
    seen = np.flatnonzero(np.isfinite(truth))
    if len(seen) == 0:
        return parameters.sum() * 0.0
    frame, view, y, x = np.unravel_index(rng.choice(seen, PIXELS), truth.shape)
    where = sections(spec, len(links), background=False)  # a background comes last
    p = parameters[where.ellipsoids].reshape(-1, ELLIPSOID)
    poses = _poses(spec, parameters[where.joints], q, chain)[:, links]
    at = (0.0, 1.0) if spec.convention == "tinyrenderer" else (0.5, 0.5)
    total = q.new_zeros(())
    for number, camera in enumerate(spec.cameras):
        mine = torch.as_tensor(np.flatnonzero(view == number))
        if len(mine) == 0:
            continue
        own = parameters[where.cameras][CAMERA * number : CAMERA * (number + 1)]
        world = torch.as_tensor(camera.world_to_cam, dtype=q.dtype, device=q.device)
        across = torch.as_tensor(x + at[0], dtype=q.dtype)[mine] - camera.cx - own[8]
        down = torch.as_tensor(y + at[1], dtype=q.dtype)[mine] - camera.cy - own[9]
        rays = torch.stack([across / (camera.fx * own[6].exp()), down / (camera.fy * own[7].exp()),
                            torch.ones_like(across)], dim=1)
        inverse, centres = _balls(body_reference.correction(own[:6]) @ world @ poses, p)
        of = torch.as_tensor(frame)[mine]
        wanted = torch.as_tensor(truth[frame, view, y, x], dtype=q.dtype)[mine]
        total = total + _charge(inverse[of], centres[of], rays, wanted, p).sum()
    return WEIGHT * total / PIXELS


def _poses(spec: RobotSpec, corrections: Tensor, q: Tensor, chain: bool) -> Tensor:
    """Poses of the links; without corrections to differentiate in numpy, which is ten times faster."""
    if chain:
        return body_reference.link_poses(spec, corrections, q)
    return torch.as_tensor(link_poses(spec, q.cpu().numpy().astype(np.float64)), dtype=q.dtype, device=q.device)


def _balls(seen: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """From the camera's frame to where each ellipsoid is the unit ball: (B, N, 3, 3), and its centre (B, N, 3)."""
    back = (body_reference.rotation(p[:, 6:10]) / p[:, None, 3:6].exp()).transpose(-1, -2)
    inverse = back @ seen[..., :3, :3].transpose(-1, -2)
    centre = (seen[..., :3, :3] @ p[:, :3, None]).squeeze(-1) + seen[..., :3, 3]
    return inverse, (inverse @ centre[..., None]).squeeze(-1)


def _charge(inverse: Tensor, centres: Tensor, rays: Tensor, wanted: Tensor, p: Tensor) -> Tensor:
    """Return the mean distance (K,) m of what stops each ray (K, 3) from its depth (K,)."""
    u = (inverse @ rays[:, None, :, None]).squeeze(-1)
    a, h = (u * u).sum(-1), (u * centres).sum(-1)
    miss = (centres * centres).sum(-1) - h * h / a  # squared distance of ray and centre
    fronts = h / a - ((1 - miss).clamp(min=TOUCH) / a).sqrt()
    stop = p[:, 11].sigmoid() * (p[:, 10].exp() * (1 - miss)).sigmoid()
    order = fronts.detach().argsort(dim=1)
    fronts, stop = fronts.gather(1, order), stop.gather(1, order)
    through = torch.cat([torch.ones_like(stop[:, :1]), (1 - stop).cumprod(dim=1)[:, :-1]], dim=1)
    share = stop * through
    return (share * (fronts - wanted[:, None]).abs()).sum(dim=1) / (share.sum(dim=1) + 1e-3)
