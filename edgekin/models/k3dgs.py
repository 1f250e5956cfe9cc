"""K-3DGS: the body as soft ellipsoids on its kinematic chain, seen by the cameras that the RobotSpec names.

The chain says where every link is; the ellipsoids, a few to a link, say what it looks like; the cameras make pictures
of them. On the CPU drawing and derivatives are those of engines/splat, on a GPU of `body_reference`, its twin in torch.
What may be learned besides the ellipsoids: `chain` (a correction of every joint's origin, so of axes and offsets),
`camera` (pose, focal lengths, principal point), `background` (a static layer: what is on without the robot).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekin.errors import ConfigError
from edgekin.models import body_depth, body_reference
from edgekin.models.body import CAMERA, CORRECTION, ELLIPSOID, Body, Loss, Optics
from edgekin.models.body_graph import BodyGraph
from edgekin.models.registry import Batch, PictureShape, Plan
from edgekin.robot.chain import camera_centre
from edgekin.robot.damage import below
from edgekin.robot.spec import Camera, RobotSpec

if TYPE_CHECKING:
    from edgekin.sim.about import PicturesAbout

#: size -> ellipsoids for every rigid part of the robot.
PER_PART = {"s": 8, "m": 12, "l": 24}
SIZES = tuple(PER_PART)
#: A size with this at its end has balls in place of ellipsoids: what the published method drew, for ablations.
ISOTROPIC = "-isotropic"
LEARNS = ("background", "camera", "chain")
HAS_DEPTH = CAMERAS = True
#: What there is one row of for every ellipsoid.
ROWS = ("centre", "log_radius", "rotation", "sharpness", "opacity")
#: Learning rates beside that of radii, rotations and sharpness: a radian or an e-fold is a large step, so is a metre.
CENTRE_RATE, CHAIN_RATE, CAMERA_RATE, BACKGROUND_RATE = 0.2, 0.05, 0.02, 2.0
#: First radius and scatter about the line from a joint to the next, in lengths of a usual link.
RADIUS, SCATTER = 0.15, 0.3
SHARPNESS, OPACITY = 1.0, 2.0
#: Share of the budget up to which ellipsoids are moved to where they are missed, and how often.
ADAPT_UNTIL, ADAPT_TIMES = 0.5, 20
#: Below this opacity an ellipsoid is given up.
GIVE_UP = 0.05
#: Share of the steps that look at depth, where the data have it: four times as long as the others.
DEPTH_SHARE = 0.25
#: Share of the steps that look from elsewhere, where there are pictures from there.
ABOUT_SHARE = 0.5
#: Share of pixels on in every training picture beyond which there is a background to learn: no arm's base is so large.
STATIC_SHARE = 0.1


class _Logits(torch.autograd.Function):
    """Pictures of a batch from the flat parameters and the joint angles, through the C library."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, q: Tensor, body: Body) -> Tensor:
        """Return (B, V, H, W) logits."""
        ctx.body, ctx.flat, ctx.q = body, flat.detach().numpy(), q.detach().numpy()
        body.set(ctx.flat)
        pictures = [_drawn(body, pose) for pose in ctx.q]
        return torch.from_numpy(np.stack(pictures) if pictures else np.zeros((0, *body.shape), np.float32))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Draw every picture again, and differentiate it."""
        body, dflat, dq = ctx.body, np.zeros_like(ctx.flat), np.zeros_like(ctx.q)
        body.set(ctx.flat)
        for pose, dlogits, dpose in zip(ctx.q, grads[0].numpy(), dq, strict=True):
            body.run(pose)
            body.pull(dlogits)
            body.backward(dflat, dpose)
        return torch.from_numpy(dflat), torch.from_numpy(dq), None


def _drawn(body: Body, q: NDArray[np.float32]) -> NDArray[np.float32]:
    body.run(q)
    return body.logits()


class _Loss(torch.autograd.Function):
    """The loss of a batch of packed masks: drawn, compared and differentiated in one pass of the C library."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, q: Tensor, packed: NDArray[np.uint8], body: Body) -> Tensor:
        """Return the mean loss per pixel."""
        body.set(flat.detach().numpy())
        value, gradient = body.learn(q.detach().numpy(), packed, Loss())
        pixels = len(packed) * math.prod(body.shape)
        ctx.save_for_backward(torch.from_numpy(gradient / np.float32(pixels)))
        return torch.tensor(value / pixels, dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative was made on the way."""
        return ctx.saved_tensors[0] * grads[0], None, None, None


def drawn(flat: Tensor, q: Tensor, body: Body) -> Tensor:
    """Return the logits (B, V, H, W) of flat parameters at q (B, J) rad, differentiable in both."""
    logits: Tensor = _Logits.apply(flat, q, body)  # type: ignore[no-untyped-call]
    return logits


def loss_of(flat: Tensor, q: Tensor, packed: NDArray[np.uint8], body: Body) -> Tensor:
    """Return the mean loss per pixel of packed masks (B, V, H, ceil(W / 8)), differentiable in flat."""
    value: Tensor = _Loss.apply(flat, q, packed, body)  # type: ignore[no-untyped-call]
    return value


def drawn_with_depth(flat: Tensor, q: Tensor, body: Body) -> tuple[Tensor, Tensor]:
    """Return logits and depth in m, each (B, V, H, W), without derivatives: drawn by the C library."""
    angles = q.detach().cpu().numpy()
    body.set(flat.detach().cpu().numpy())
    logits, depth = np.empty((2, len(angles), *body.shape), np.float32)
    for pose, picture, distance in zip(angles, logits, depth, strict=True):
        picture[:] = _drawn(body, pose)
        distance[:] = body.depth()
    # Where no ellipsoid is near, the middle of what is seen: a number, as from every other model.
    usual = float(np.median(depth[np.isfinite(depth)])) if np.isfinite(depth).any() else 0.0
    depth[~np.isfinite(depth)] = usual
    return torch.from_numpy(logits).to(q.device), torch.from_numpy(depth).to(q.device)


def dense_loss(logits: Tensor, packed: NDArray[np.uint8]) -> Tensor:
    """Cross-entropy of (B, V, H, W) log-odds."""
    bits = np.unpackbits(packed, axis=-1, count=logits.shape[-1]).astype(np.float32)
    return nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(bits).to(logits.device))


class Ellipsoids(nn.Module):
    """The self-model: (B, J) rad -> logits (B, V, H, W).

    Args:
        robot: kinematic tree and cameras.
        links: the link of every ellipsoid.
        learn: of LEARNS.
        isotropic: all half axes of an ellipsoid are their mean.
    """

    links: Tensor
    travel: Tensor
    adapted: Tensor
    chain: Tensor
    camera: Tensor
    centre: Tensor
    log_radius: Tensor
    rotation: Tensor
    sharpness: Tensor
    opacity: Tensor

    def __init__(self, robot: RobotSpec, links: list[int], learn: tuple[str, ...],
                 isotropic: bool = False) -> None:
        super().__init__()
        n, views, camera = len(links), len(robot.cameras), robot.cameras[0]
        self.robot, self.learn, self.isotropic = robot, learn, isotropic
        self.shape = PictureShape(len(robot.actuated), views, camera.height, camera.width)
        self.optics = Optics(background="background" in learn)
        self.register_buffer("links", torch.tensor(links, dtype=torch.int32))
        self.centre = nn.Parameter(torch.zeros(n, 3))  # m, in the link's frame
        self.log_radius = nn.Parameter(torch.zeros(n, 3))  # log m, half axes
        self.rotation = nn.Parameter(torch.randn(n, 4))  # quaternion w x y z of any length
        self.sharpness = nn.Parameter(torch.full((n, 1), SHARPNESS))  # log
        self.opacity = nn.Parameter(torch.full((n, 1), OPACITY))  # log-odds
        self._optional("chain", torch.zeros(len(robot.joints), CORRECTION), "chain" in learn)
        self._optional("camera", torch.zeros(views, CAMERA), "camera" in learn)
        if self.optics.background:
            self.background = nn.Parameter(torch.full((views, camera.height, camera.width), -4.0))  # log-odds
        self.register_buffer("travel", torch.zeros(n))  # how hard the pictures pulled since the last adaptation
        self.register_buffer("adapted", torch.zeros((), dtype=torch.int64))  # adaptations so far
        self._body: Body | None = None
        self._about: PicturesAbout | None = None
        self._elsewhere: dict[Hashable, tuple[RobotSpec, Body]] = {}

    def _optional(self, name: str, value: Tensor, learned: bool) -> None:
        if learned:
            self.register_parameter(name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    def flat(self) -> Tensor:
        """The parameters in the layout of edgekin.models.body."""
        radius = self.log_radius.mean(dim=1, keepdim=True).expand(-1, 3) if self.isotropic else self.log_radius
        ellipsoids = torch.cat([self.centre, radius, self.rotation, self.sharpness, self.opacity], dim=1)
        parts = [ellipsoids.flatten(), self.chain.flatten(), self.camera.flatten()]
        return torch.cat([*parts, self.background.flatten()] if self.optics.background else parts)

    def body(self) -> Body:
        """The C library's side; opened on first use."""
        if self._body is None:
            self._body = Body(self.robot, self.links.cpu().numpy(), self.optics)
        return self._body

    def _close(self) -> None:
        """Ellipsoids have come, gone or changed their links."""
        self._body = None
        self._elsewhere.clear()

    def forward(self, q: Tensor) -> Tensor:
        """Predict log-odds; q (B, J) rad -> (B, V, H, W)."""
        if q.is_cuda:
            return body_reference.logits(self.robot, self.links.long(), self.optics, self.flat(), q)
        return drawn(self.flat(), q, self.body())

    def both(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Predict log-odds and depth in m, each (B, V, H, W); q (B, J) rad. No derivatives: drawn by the C library."""
        return drawn_with_depth(self.flat(), q, self.body())

    def graph(self) -> BodyGraph:
        """Return the model as plain numbers, for compilation."""
        flat = self.flat().detach().cpu().numpy().astype(np.float32)
        return BodyGraph(self.robot, self.links.cpu().numpy(), self.optics, flat)

    # ---- how it is trained (registry.OwnTraining)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters with the factor of their learning rate."""
        scales = {"centre": CENTRE_RATE, "chain": CHAIN_RATE, "camera": CAMERA_RATE, "background": BACKGROUND_RATE}
        return [{"params": [p], "scale": scales.get(name, 1.0)} for name, p in self.named_parameters()]

    def look_about(self, pictures: PicturesAbout) -> None:
        """Learn half of all batches from pictures by cameras about the robot's own.

        One camera's pictures alone teach pixels: moved by parts of one, edges no longer fit.
        """
        self._about = pictures

    def training_loss(self, batch: Batch, share: float) -> Tensor:
        """Return the mean loss per pixel of a batch.

        Args:
            batch: angles and masks.
            share: of the budget that is used up.
        """
        flat = self.flat()
        if self._about is not None and batch.rng.random() < ABOUT_SHARE:
            return self._loss_elsewhere(flat, batch)
        if batch.q.is_cuda:
            value = dense_loss(self(batch.q), batch.packed)
        else:
            value = loss_of(flat, batch.q, batch.packed, self.body())
            self.travel += torch.from_numpy(self.body().travel())
        if batch.depth is None or batch.rng.random() > DEPTH_SHARE:
            return value
        return value + body_depth.depth_loss(self.robot, self.links.long(), flat, batch, "chain" in self.learn)

    def _before(self, cameras: Callable[[], tuple[Camera, ...]], key: Hashable) -> tuple[RobotSpec, Body]:
        """The robot before other cameras, and the C library's side of it; opened on first use of a key."""
        if key not in self._elsewhere:
            spec = replace(self.robot, cameras=cameras())
            self._elsewhere[key] = spec, Body(spec, self.links.cpu().numpy(), self.optics)
        return self._elsewhere[key]

    def _loss_elsewhere(self, flat: Tensor, batch: Batch) -> Tensor:
        """The loss of as many pictures from one place. Where they are missed, no ellipsoids are moved to: those that
        the robot's own cameras need would go."""
        about = self._about
        assert about is not None
        place, angles, packed = about.draw(len(batch.q), batch.rng)
        q, (robot, body) = torch.from_numpy(angles).to(batch.q), self._before(lambda: about.cameras[place], place)
        if q.is_cuda:
            return dense_loss(self._without(about.lost[place], flat, q, robot), packed)
        body.lose(about.lost[place])
        return loss_of(flat, q, packed, body)

    def _without(self, lost: int, flat: Tensor, q: Tensor, robot: RobotSpec) -> Tensor:
        """Log-odds of the robot without a link, and all beyond, drawn in torch; 0: with all."""
        there = np.ones(len(robot.links), bool)
        there[list(below(robot, lost)) if lost else []] = False
        rows = torch.from_numpy(there).to(q.device)[self.links.long()]
        ellipsoids = flat[: ELLIPSOID * len(rows)].reshape(len(rows), ELLIPSOID)[rows].flatten()
        kept = torch.cat([ellipsoids, flat[ELLIPSOID * len(rows) :]])
        return body_reference.logits(robot, self.links[rows].long(), self.optics, kept, q)

    def adapt(self, share: float, optimiser: torch.optim.Optimizer) -> bool:
        """Move given-up ellipsoids to where the pictures pull hardest, when it is time; tell whether any moved."""
        due = int(min(share, ADAPT_UNTIL) / ADAPT_UNTIL * ADAPT_TIMES)
        if due <= int(self.adapted) or share > ADAPT_UNTIL:
            return False
        self.adapted.fill_(due)
        with torch.no_grad():
            moved = self._relocate(torch.Generator().manual_seed(due))
            self.travel.zero_()
        if len(moved):
            for name, parameter in self.named_parameters():
                if name in ROWS:
                    for moment in optimiser.state[parameter].values():
                        if moment.shape == parameter.shape:
                            moment[moved] = 0
        return len(moved) > 0

    def _relocate(self, generator: torch.Generator) -> Tensor:
        """Split the ellipsoids that the pictures pull at hardest into the slots of those given up; return the rows."""
        dead = (self.opacity[:, 0].sigmoid() < GIVE_UP).nonzero()[:, 0]
        strength = self.travel.clone()
        strength[dead] = 0
        source = strength.argsort(descending=True)[: len(dead)]
        for to, of in zip(dead.tolist(), source.tolist(), strict=True):
            longest = int(self.log_radius[of].argmax())
            axis = body_reference.rotation(self.rotation[of])[:, longest]
            shift = axis * self.log_radius[of, longest].exp() * 0.5
            self.links[to] = self.links[of]
            for name in ROWS:
                getattr(self, name)[to] = getattr(self, name)[of]
            self.centre[to] += shift
            self.centre[of] -= shift
            for row in (to, of):
                self.log_radius[row, longest] -= math.log(1.6)
        if len(dead):
            self._close()
        return torch.cat([dead, source])

    def finish(self) -> None:
        """Drop the ellipsoids that ended invisible; give a learned chain the size of the one it began from."""
        self._keep((self.opacity[:, 0].sigmoid() >= GIVE_UP).nonzero()[:, 0])
        if "chain" in self.learn and "camera" not in self.learn and self.shape.n_views == 1:
            self._anchor()

    def _anchor(self) -> None:
        """Scale the robot about its only camera, which changes no picture, to where its joints moved least.

        How large and how far away it is, one camera cannot tell: training leaves that wherever it happened to end.
        """
        if any(joint.kind == "prismatic" for joint in self.robot.actuated):
            return  # a slide's travel is in metres: it tells the size
        base, centre = self.robot.base, camera_centre(self.robot)
        eye = base[:3, :3].T @ (centre - base[:3, 3])
        chain = self.chain.detach().cpu().double().numpy()
        about = np.array([eye if joint.parent == 0 else np.zeros(3) for joint in self.robot.joints])
        first = np.array([joint.origin[:3, 3] for joint in self.robot.joints])
        turn = np.array([joint.origin[:3, :3] for joint in self.robot.joints])
        ended = first + np.einsum("jab,jb->ja", turn, chain[:, 3:6])
        scale = float(np.sum((ended - about) * (first - about)) / np.sum((ended - about) ** 2))
        chain[:, 3:6] = np.einsum("jba,jb->ja", turn, about + scale * (ended - about) - first)
        root = torch.as_tensor(eye, dtype=self.centre.dtype, device=self.centre.device)
        with torch.no_grad():
            self.chain.copy_(torch.as_tensor(chain))
            origin = torch.where((self.links == 0)[:, None], root, torch.zeros_like(root))
            self.centre.copy_(origin + scale * (self.centre - origin))
            self.log_radius += math.log(scale)

    def _keep(self, rows: Tensor) -> None:
        for name in ROWS:
            self.register_parameter(name, nn.Parameter(getattr(self, name).detach()[rows].clone()))
        self.register_buffer("links", self.links[rows].clone())
        self.register_buffer("travel", self.travel[rows].clone())
        self._close()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take over parameters, of fewer ellipsoids where training dropped some."""
        links = state_dict.get("links")
        if isinstance(links, Tensor) and links.ndim == 1 and 0 < len(links) < len(self.links):
            self._keep(torch.arange(len(links)))
        result = super().load_state_dict(state_dict, strict, assign)
        self._close()
        return result


def parts_of(robot: RobotSpec) -> list[int]:
    """Return the links that begin a rigid part: the root, and those behind a joint that moves."""
    return [0, *(joint.child for joint in robot.joints if joint.actuated)]


def usual_length(robot: RobotSpec) -> float:
    """Return the median distance from a joint to the next, m."""
    lengths = [float(np.linalg.norm(joint.origin[:3, 3])) for joint in robot.joints if joint.actuated]
    lengths = [length for length in lengths if length > 1e-3]
    return float(np.median(lengths)) if lengths else 0.1


def is_variant(size: str) -> bool:
    """Tell whether `build` takes a size that is not in SIZES."""
    return size.endswith(ISOTROPIC) and size.removesuffix(ISOTROPIC) in SIZES


def build(plan: Plan) -> Ellipsoids:
    """Return a body model whose ellipsoids are scattered about the lines from joint to joint.

    Raises:
        ConfigError: there is no robot.
    """
    robot = plan.robot
    if robot is None:
        raise ConfigError("k3dgs needs the robot's kinematic chain", "Build it with the RobotSpec")
    parts, size = parts_of(robot), plan.size.removesuffix(ISOTROPIC)
    links = [part for part in parts for _ in range(PER_PART[size])]
    if plan.shape.n_camera:
        from edgekin.models.k3dgs_views import SeenFromAnywhere

        model: Ellipsoids = SeenFromAnywhere(plan, links, isotropic=size != plan.size)
    else:
        model = Ellipsoids(robot, links, plan.learn, isotropic=size != plan.size)
    scatter(model, robot)
    return model


def scatter(model: Ellipsoids, robot: RobotSpec) -> None:
    """Scatter a model's ellipsoids about the lines from joint to joint.

    Args:
        model: with a link for every ellipsoid.
        robot: its robot, or that with another chain.
    """
    length, links = usual_length(robot), model.links.tolist()
    ends = {part: [j.origin[:3, 3] for j in robot.joints if j.parent == part] or [np.zeros(3)] for part in links}
    with torch.no_grad():
        for row, part in enumerate(links):
            end = torch.as_tensor(ends[part][row % len(ends[part])], dtype=torch.float32)
            model.centre[row] = torch.rand(()) * end + SCATTER * length * torch.randn(3)
        model.log_radius.fill_(math.log(RADIUS * length))


def default_learn(mean_image: NDArray[np.float32]) -> tuple[str, ...]:
    """Return what the training pictures ask to be learned besides the ellipsoids.

    Args:
        mean_image: (V, H, W) share of training pictures in which a pixel is on.
    """
    return ("background",) if float((mean_image >= 1.0).mean()) > STATIC_SHARE else ()
