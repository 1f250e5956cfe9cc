"""FFKSM: a free-form kinematic self-model, density and visibility in space as a network of point and joints.

Published by Hu, Lipson et al. The joints at the base do not enter the network: they turn the query points, as if the
camera moved about an arm that holds still (the virtual frame). Rays of the RobotSpec's cameras are marched through the
workspace; several cameras need nothing more. What is different here: see docs/design.md, "The free-form model".
What may be learned besides: `background`, a static layer (what is on without the robot).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekin.errors import ConfigError
from edgekin.models import ffksm_march as march
from edgekin.models.ffksm_field import Field
from edgekin.models.ffksm_learning import PUBLISHED, Pictures, Recipe, compare, draw, sections
from edgekin.models.ffksm_rays import Frames, Rays, chord, frame_links, pixel_rays, workspace_radius
from edgekin.models.field_graph import SAMPLES, FieldGraph, FieldShape
from edgekin.models.registry import Batch, PictureShape, Plan
from edgekin.robot.spec import RobotSpec

#: size -> width of the encoders; `published` is the network and training as published.
WIDTHS = {"s": 64, "m": 128, "l": 192, "published": 128}
SIZES = tuple(WIDTHS)
#: A size with this at its end is trained without the published curriculum, for ablations.
PLAIN = "-no-curriculum"
LEARNS = ("background",)
#: Adam's rate beside the trainer's; at its default of 1e-2 the published one is 5e-4.
RATE, PUBLISHED_RATE, BACKGROUND_RATE = 0.5, 0.05, 2.0
#: Chance of a ray that meets the static layer alone, beside one that may meet the arm.
SELDOM = 0.05
#: Share of pixels on in every training picture beyond which there is a background to learn.
STATIC_SHARE = 0.1
#: Log-odds of the static layer at first, and where a picture had nothing.
STATIC, FREE = 6.0, -8.0


@dataclass(frozen=True)
class Pose:
    """What is the same for all points of a pose."""

    frames: Tensor  # (B, K, 4, 4)
    centre: Tensor  # (B, 3) m, of the workspace
    features: Tensor  # (B, width)


class FreeForm(nn.Module):
    """The self-model: (B, J) rad -> logits (B, V, H, W).

    Args:
        robot: kinematic tree, of which only the virtual frame's joints are used, and cameras.
        size: of SIZES.
        learn: of LEARNS.
    """

    curve_samples = 6  # poses that the learning curve looks at: a picture takes tens of milliseconds

    ray_origin: Tensor
    ray_direction: Tensor
    grid: Tensor

    def __init__(self, robot: RobotSpec, size: str, learn: tuple[str, ...]) -> None:
        super().__init__()
        camera, links = robot.cameras[0], frame_links(robot)
        self.robot, self.learn = robot, learn
        self.shape = PictureShape(len(robot.actuated), len(robot.cameras), camera.height, camera.width)
        self.turning = len(links) - 1  # joints that belong to the virtual frame
        self.radius = workspace_radius(robot, links[-1])
        self.near = min(c.near for c in robot.cameras)
        size, curriculum = size.removesuffix(PLAIN), not size.endswith(PLAIN)
        published = size == "published"
        self.frames = Frames(robot, links[-1:] if published else links)
        shape = FieldShape(3 * len(self.frames.links), len(robot.actuated) - self.turning, WIDTHS[size])
        self.field = Field(replace(shape, soft=False) if published else shape)
        self.recipe = replace(PUBLISHED if published else Recipe(), curriculum=curriculum)
        if "background" in learn:
            self.background = nn.Parameter(torch.full((self.pixels,), STATIC))  # log-odds; carved
        rays = pixel_rays(robot)
        self.register_buffer("ray_origin", rays.origin, persistent=False)
        self.register_buffer("ray_direction", rays.direction, persistent=False)
        side = (torch.arange(march.CELLS) + 0.5) / march.CELLS * 2.0 - 1.0
        grid = torch.stack(torch.meshgrid(side, side, side, indexing="ij"), dim=-1).reshape(-1, 3)
        self.register_buffer("grid", grid * self.radius, persistent=False)

    @property
    def pixels(self) -> int:
        """Rays of a pose, V * H * W."""
        return self.shape.n_views * self.shape.height * self.shape.width

    def rays(self) -> Rays:
        """Return the rays of all pixels."""
        return Rays(self.ray_origin, self.ray_direction)

    def cell_centres(self) -> Tensor:
        """Return the middles of the grid's cells about the workspace's centre, (G^3, 3) m."""
        return self.grid

    def chord(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the rays of all pixels enter and leave the workspace; see ffksm_rays.chord."""
        return chord(self.rays(), centre, self.radius, self.near)

    def static(self) -> Tensor | None:
        """Return the static layer, (V * H * W,) log-odds, where one is learned."""
        return self.background if "background" in self.learn else None

    def pose(self, q: Tensor) -> Pose:
        """Return what all points of a pose share; q (B, J) rad."""
        frames = self.frames.poses(q)
        return Pose(frames, frames[:, -1, :3, 3], self.field.pose_features(q[:, self.turning :]))

    def raw(self, pose: Pose, points: Tensor) -> Tensor:
        """Return the field's output, (B, N, 2), at points (B, N, 3) m in the world."""
        raw: Tensor = self.field(self.frames.coordinates(pose.frames, points) / self.radius, pose.features)
        return raw

    def render(self, q: Tensor, accelerated: bool = True) -> Tensor:
        """Draw one pose.

        Args:
            q: (J,) rad.
            accelerated: skip empty space; False: evaluate every sample of every ray.

        Returns:
            (V, H, W) log-odds.
        """
        thickness = (march.accelerated if accelerated else march.plain)(self, q)
        shape = (self.shape.n_views, self.shape.height, self.shape.width)
        return march.logits(thickness, self.static()).reshape(shape)

    def forward(self, q: Tensor) -> Tensor:
        """Predict log-odds, (B, J) rad -> (B, V, H, W): accelerated in evaluation, plain where gradients are asked."""
        quick = not (self.training or torch.is_grad_enabled())
        pictures = [self.render(pose, accelerated=quick) for pose in q]
        if pictures:
            return torch.stack(pictures)
        return q.new_zeros(0, self.shape.n_views, self.shape.height, self.shape.width)

    def occupancy(self, q: Tensor, points: Tensor) -> Tensor:
        """Return how occupied points in space are.

        Args:
            q: (J,) rad.
            points: (N, 3) m in the world.

        Returns:
            (N,) 0 to 1: the opacity of a 64th of the workspace's diameter at the point's density; 0 beyond the
            workspace, of which nothing was learned.
        """
        pose = self.pose(q[None])
        inside = (points - pose.centre[0]).square().sum(-1) <= self.radius**2
        return self.field.opacity(self.raw(pose, points[None])[0], 1.0) * inside

    def graph(self) -> FieldGraph:
        """Return the model as plain numbers, for compilation."""
        weights = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}
        return FieldGraph(self.robot, self.field.shape, self.frames.links, self.radius, weights)

    # ---- how it is trained (registry.OwnTraining)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters with the factor of their learning rate."""
        rate = RATE if self.field.shape.soft else PUBLISHED_RATE
        return [{"params": [p], "scale": BACKGROUND_RATE if name == "background" else rate}
                for name, p in self.named_parameters()]

    def training_loss(self, batch: Batch, share: float) -> Tensor:
        """Return the mean loss of the rays drawn from a batch.

        Args:
            batch: angles and masks.
            share: of the budget that is used up.
        """
        bits = np.unpackbits(batch.packed, axis=-1, count=self.shape.width).astype(np.float32)
        masks = torch.from_numpy(bits).to(batch.q.device)
        generator = torch.Generator(batch.q.device).manual_seed(int(batch.rng.integers(2**62)))
        pose, rays, recipe = self.pose(batch.q), self.rays(), self.recipe
        with torch.no_grad():
            enter, leave = self.chord(pose.centre[:, None])
            chance, moving = (leave > enter).to(masks.dtype), masks
            if "background" in self.learn:
                chance, moving = self._beside_static(chance, masks, share)
            taken = draw(recipe, Pictures(masks, moving, chance), share, generator)
            t, length = sections(enter.gather(1, taken.index), leave.gather(1, taken.index), recipe.samples, generator)
            points = rays.origin[taken.index][:, :, None] + t[..., None] * rays.direction[taken.index][:, :, None]
            step = length * (SAMPLES / (2.0 * self.radius))
        raw = self.raw(pose, points.flatten(1, 2)).reshape(*points.shape[:3], 2)
        thickness = march.thickness_of(self, raw, step[..., None]).sum(dim=-1)
        static = self.static()
        behind = None if static is None else static[taken.index]
        return compare(recipe, march.logits(thickness, behind), taken)

    def _beside_static(self, chance: Tensor, masks: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Carve the static layer, and return the chances of rays and the masks without it.

        The layer begins full; what is off in any picture of the first part of the budget is none of it. Rays
        alone would fill it too slowly: each pixel is drawn in one step of forty.
        """
        if share < self.recipe.crop_share:
            free = (masks == 0).any(dim=0).flatten()
            self.background[free & (self.background > 0)] = FREE
        free = self.background <= 0
        return torch.where(free, chance, SELDOM).clamp(min=SELDOM), masks * free.reshape(masks.shape[1:])

    def adapt(self, share: float, optimiser: torch.optim.Optimizer) -> bool:
        """Change nothing: the network keeps its structure."""
        return False

    def finish(self) -> None:
        """Nothing was there for training alone."""


def is_variant(size: str) -> bool:
    """Tell whether `build` takes a size that is not in SIZES."""
    return size.endswith(PLAIN) and size.removesuffix(PLAIN) in SIZES


def build(plan: Plan) -> FreeForm:
    """Return a free-form model.

    Raises:
        ConfigError: there is no robot.
    """
    if plan.robot is None:
        raise ConfigError("ffksm needs the robot's cameras and base joints", "Build it with the RobotSpec")
    return FreeForm(plan.robot, plan.size, plan.learn)


def default_learn(mean_image: NDArray[np.float32]) -> tuple[str, ...]:
    """Return what the training pictures ask to be learned besides the field; mean_image (V, H, W)."""
    return ("background",) if float((mean_image >= 1.0).mean()) > STATIC_SHARE else ()
