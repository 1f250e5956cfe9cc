"""The body model in plain torch: dense, slow, obvious, differentiable by autograd; the twin of engines/splat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from edgekin.models.body import CAMERA, CORRECTION, ELLIPSOID, Optics, sections
from edgekin.robot.spec import Camera, Joint, RobotSpec

FAINT = 1e-3  # EK_SPLAT_FAINT: opacity below which an ellipsoid is not drawn
EDGE = 3.0  # EK_SPLAT_EDGE: where an ellipsoid's edge ends
DARK = 2.0**-20  # EK_SPLAT_DARK: light that is left at least


def rotation(quaternion: Tensor) -> Tensor:
    """Return the rotations (..., 3, 3) of quaternions (..., 4) w x y z of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def _transform(turn: Tensor, shift: Tensor) -> Tensor:
    """(..., 3, 3) and (..., 3) to (..., 4, 4)."""
    top = torch.cat([turn, shift[..., None]], dim=-1)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=turn.dtype, device=turn.device).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, last], dim=-2)


def correction(p: Tensor) -> Tensor:
    """Return the (4, 4) of 2 tan(angle / 2) axis (3) and a shift (3) m."""
    return _transform(rotation(torch.cat([torch.ones_like(p[:1]), p[:3] / 2])), p[3:6])


def _motion(joint: Joint, q: Tensor) -> Tensor:
    """(B,) rad or m to (B, 4, 4)."""
    axis = torch.as_tensor(joint.axis, dtype=q.dtype, device=q.device)
    none = torch.zeros(len(q), 3, dtype=q.dtype, device=q.device)
    if joint.kind in ("revolute", "continuous"):
        return _transform(rotation(torch.cat([(q / 2).cos()[:, None], (q / 2).sin()[:, None] * axis], dim=1)), none)
    eye = torch.eye(3, dtype=q.dtype, device=q.device).expand(len(q), 3, 3)
    return _transform(eye, q[:, None] * axis if joint.kind == "prismatic" else none)


def link_poses(spec: RobotSpec, joints: Tensor, q: Tensor) -> Tensor:
    """Return (B, L, 4, 4) poses of the links: the robot's forward kinematics with corrected origins.

    Args:
        spec: the kinematic tree.
        joints: (n_joints * 6,) corrections.
        q: (B, J) rad.
    """
    def constant(matrix: object) -> Tensor:
        return torch.as_tensor(matrix, dtype=q.dtype, device=q.device)

    poses: list[Tensor] = [constant(spec.base).expand(len(q), 4, 4)] * len(spec.links)
    coordinate = 0
    for index, joint in enumerate(spec.joints):
        value = q[:, coordinate] if joint.actuated else torch.full_like(q[:, 0], joint.rest)
        coordinate += joint.actuated
        origin = constant(joint.origin) @ correction(joints[CORRECTION * index : CORRECTION * (index + 1)])
        poses[joint.child] = poses[joint.parent] @ origin @ _motion(joint, value)
    return torch.stack(poses, dim=1)


def _outlines(camera: Camera, lens: Tensor, seen: Tensor, p: Tensor, optics: Optics) -> tuple[Tensor, ...]:
    """Return centre u, v and shape xx, xy, yy (px, px^2), and whether it is in view; each (B, N)."""
    axes = rotation(p[:, 6:10]) * p[:, None, 3:6].exp()
    m = seen[..., :3, :3] @ axes
    x = (seen[..., :3, :3] @ p[:, :3, None]).squeeze(-1) + seen[..., :3, 3]
    s = m @ m.transpose(-1, -2)
    visible = (x[..., 2] > camera.near) & (s[..., 2, 2] - x[..., 2] ** 2 < -0.01 * x[..., 2] ** 2)
    visible = visible & (p[:, 11].sigmoid() >= FAINT)
    w = s - x[..., :, None] * x[..., None, :]
    g = torch.where(visible, w[..., 2, 2], -torch.ones_like(w[..., 2, 2]))
    n = w[..., :2, 2] / g[..., None]
    h = n[..., :, None] * n[..., None, :] - w[..., :2, :2] / g[..., None, None]
    low = optics.low_pass_px2
    return (lens[0] * n[..., 0] + lens[2], lens[1] * n[..., 1] + lens[3], lens[0] ** 2 * h[..., 0, 0] + low,
            lens[0] * lens[1] * h[..., 0, 1], lens[1] ** 2 * h[..., 1, 1] + low, visible)


def _light(camera: Camera, outlines: tuple[Tensor, ...], p: Tensor, corner: bool) -> Tensor:
    """Return log T of the ellipsoids, (B, H, W)."""
    u, v, xx, xy, yy, visible = outlines
    at = (0.0, 1.0) if corner else (0.5, 0.5)
    dx = torch.arange(camera.width, dtype=u.dtype, device=u.device) + at[0] - u[..., None, None]
    dy = (torch.arange(camera.height, dtype=u.dtype, device=u.device)[:, None] + at[1]) - v[..., None, None]
    xx, xy, yy, det = (t[..., None, None] for t in (xx, xy, yy, xx * yy - xy * xy))
    m = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / det
    sharpness, opacity = p[:, 10].exp()[:, None, None], p[:, 11].sigmoid()[:, None, None]
    fade = (0.5 + sharpness / (2 * EDGE) * (m - 1)).clamp(0, 1)
    share = (1 - fade * fade * (3 - 2 * fade)) * visible[..., None, None]
    return torch.log1p(-opacity * share).sum(dim=1)


def logits(spec: RobotSpec, links: Tensor, optics: Optics, parameters: Tensor, q: Tensor) -> Tensor:
    """Return what ek_body_logits gives, (B, V, H, W), natural-log odds.

    Args:
        spec: kinematic tree and cameras.
        links: (N,) the link of each ellipsoid.
        optics: see Optics.
        parameters: the flat array of edgekin.models.body.
        q: (B, J) rad.
    """
    where = sections(spec, len(links), optics.background)
    p = parameters[where.ellipsoids].reshape(-1, ELLIPSOID)
    poses = link_poses(spec, parameters[where.joints], q)
    size = (len(spec.cameras), spec.cameras[0].height, spec.cameras[0].width)
    if optics.background:
        empty = torch.nn.functional.logsigmoid(-parameters[where.background].reshape(size))
    else:
        empty = torch.full(size, math.log1p(-optics.empty), dtype=q.dtype, device=q.device)
    views = []
    for number, camera in enumerate(spec.cameras):
        own = parameters[where.cameras][CAMERA * number : CAMERA * (number + 1)]
        world = torch.as_tensor(camera.world_to_cam, dtype=q.dtype, device=q.device)
        focal = torch.as_tensor([camera.fx, camera.fy], dtype=q.dtype, device=q.device) * own[6:8].exp()
        middle = torch.as_tensor([camera.cx, camera.cy], dtype=q.dtype, device=q.device) + own[8:10]
        seen = (correction(own[:6]) @ world @ poses)[:, links]
        outlines = _outlines(camera, torch.cat([focal, middle]), seen, p, optics)
        views.append(empty[number] + _light(camera, outlines, p, spec.convention == "tinyrenderer"))
    light = torch.stack(views, dim=1).exp().clamp(min=DARK)
    return torch.log1p(-light) - torch.log(light)
