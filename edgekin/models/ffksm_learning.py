"""How the free-form model learns: which rays are drawn, what they weigh, and the curriculum over the budget."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Recipe:
    """How rays are drawn and compared."""

    rays: int = 16  # of a picture and step
    samples: int = 32  # on a ray while training, one at random in each section
    curriculum: bool = True  # centre crop first; robot pixels weigh more
    crop_share: float = 0.05  # of the budget that the crop is kept for
    likelihood: bool = True  # compare by cross-entropy; False: by squares, as published
    near_share: float = 0.75  # of the rays that are drawn where a silhouette is near; 0: everywhere alike
    near_px: int = 4  # what "near" is
    robot_weight: float = 5.0  # of a robot pixel where all are drawn alike. Source: the published curriculum
    honesty: float = 0.5  # exponent of the weight that undoes the drawing, at the end of the budget


#: The published training: rays from anywhere, squares, robot pixels weighed.
PUBLISHED = Recipe(likelihood=False, near_share=0.0, crop_share=0.1)


@dataclass(frozen=True)
class Pictures:
    """What rays are drawn from."""

    masks: Tensor  # (B, V, H, W) float32, 0 or 1
    moving: Tensor  # (B, V, H, W), the masks without the static layer
    chance: Tensor  # (B, V * H * W) of a ray, before anything else; 0: it sees nothing that is learned


@dataclass(frozen=True)
class Drawn:
    """The rays of a step."""

    index: Tensor  # (B, R) among all rays
    target: Tensor  # (B, R) 0 or 1
    weight: Tensor  # (B, R), mean 1


def draw(recipe: Recipe, pictures: Pictures, share: float, generator: torch.Generator) -> Drawn:
    """Draw the rays of a batch of pictures.

    Args:
        recipe: see Recipe.
        pictures: of the batch.
        share: of the budget that is used.
        generator: of the step.
    """
    flat, chance = pictures.masks.flatten(1), pictures.chance + 1e-9
    if recipe.curriculum and share < recipe.crop_share:
        chance = chance * (centre_crop(pictures.masks) + 1e-9)
    chance = chance / chance.sum(dim=1, keepdim=True)
    even = chance
    if recipe.near_share > 0 and recipe.curriculum:
        near = grown(pictures.moving, recipe.near_px).flatten(1) * even
        near = near / near.sum(dim=1, keepdim=True).clamp(min=1e-12)
        chance = torch.where(near.sum(dim=1, keepdim=True) > 0.5,
                             (1 - recipe.near_share) * even + recipe.near_share * near, even)
    index = torch.multinomial(chance, recipe.rays, replacement=True, generator=generator)
    target = flat.gather(1, index)
    weight = (even / chance).gather(1, index) ** (recipe.honesty * share)
    if recipe.near_share == 0 and recipe.curriculum:
        weight = weight * (1.0 + (recipe.robot_weight - 1.0) * target)
    return Drawn(index, target, weight / weight.mean())


def grown(masks: Tensor, by_px: int) -> Tensor:
    """Return masks (B, V, H, W) grown by so many pixels to every side: rows, then columns."""
    side = 2 * by_px + 1
    rows = functional.max_pool2d(masks, (1, side), stride=1, padding=(0, by_px))
    return functional.max_pool2d(rows, (side, 1), stride=1, padding=(by_px, 0))


def centre_crop(masks: Tensor) -> Tensor:
    """Return 1 in the middle half of rows and columns, (1, V * H * W)."""
    views, height, width = masks.shape[1:]
    crop = torch.zeros(1, views, height, width, dtype=masks.dtype, device=masks.device)
    crop[:, :, height // 4 : height - height // 4, width // 4 : width - width // 4] = 1.0
    return crop.flatten(1)


def compare(recipe: Recipe, logits: Tensor, drawn: Drawn) -> Tensor:
    """Return the mean loss of the rays: nats, or squares."""
    if recipe.likelihood:
        each = functional.binary_cross_entropy_with_logits(logits, drawn.target, reduction="none")
    else:
        each = (logits.sigmoid() - drawn.target).square()
    return (each * drawn.weight).mean()


def sections(enter: Tensor, leave: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return one place at random in each of `count` equal sections, and a section's length: (..., S) m, (...) m."""
    u = torch.rand(*enter.shape, count, generator=generator, dtype=enter.dtype, device=enter.device)
    at = (torch.arange(count, dtype=enter.dtype, device=enter.device) + u) / count
    length = leave - enter
    return enter[..., None] + length[..., None] * at, length / count
