"""What is taken away or turned, one thing at a time, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgekin.comparison.contestants import Contestant
from edgekin.errors import EdgekinError
from edgekin.models.registry import check_size
from edgekin.training.settings import TrainConfig


@dataclass(frozen=True)
class Variant:
    """One bar of an ablation."""

    label: str
    settings: Mapping[str, Any]  # of TrainConfig, over the contestant's


@dataclass(frozen=True)
class Ablation:
    """One question to one model; the first variant is the model as it is, the last differs most."""

    name: str
    model: str  # a contestant's name
    question: str
    variants: tuple[Variant, ...]

    def missing(self, contestants: Mapping[str, Contestant]) -> str:
        """Say why it cannot be done: its model is not compared, or lacks what is varied; empty where it can."""
        if self.model not in contestants:
            return f"{self.model} is not compared"
        known = {f.name for f in fields(TrainConfig)}
        for variant in self.variants:
            unknown = sorted(set(variant.settings) - known)
            if unknown:
                return f"training has no setting {unknown[0]} in this version"
            if "size" in variant.settings:
                try:
                    check_size(contestants[self.model].model, variant.settings["size"])
                except EdgekinError as error:
                    return error.message
        return ""

    def first(self, count: int | None) -> tuple[Variant, ...]:
        """Return so many variants: the first, and from the end the others."""
        if count is None or count >= len(self.variants):
            return self.variants
        return (self.variants[0], *self.variants[len(self.variants) - count + 1 :])


def _noise(model: str) -> Ablation:
    """Published: sigma 0.01 as augmentation."""
    return Ablation("angle noise", model, "Does noise on the joint angles during training help on angles without?",
                    tuple(Variant(f"{s:g} rad" if s else "none", {"angle_noise_rad": s} if s else {})
                          for s in (0.0, 0.003, 0.01, 0.03)))


ABLATIONS = (
    Ablation("distillation", "neurokin", "What does a teacher add that draws as many poses as are wanted?", (
        Variant("body model teaches", {}),
        Variant("samples alone", {"teacher": None}),
    )),
    Ablation("distillation", "resneurokin-d", "The same, of silhouettes and depth.", (
        Variant("body model teaches", {}),
        Variant("samples alone", {"teacher": None}),
    )),
    _noise("neurokin-frames"),
    _noise("k3dgs"),
    Ablation("depth", "neurokin-frames", "How many hidden layers and convolutions does the decoder need?", (
        Variant("2 hidden, 2 convolutions", {}),
        Variant("3 hidden, 2 convolutions", {"size": "128x128x128-8-8"}),
        Variant("2 hidden, 3 convolutions", {"size": "128x128-8-8x8"}),
        Variant("1 hidden, 2 convolutions", {"size": "128-8-8"}),
        Variant("2 hidden, 1 convolution", {"size": "128x128-8-none"}),
    )),
    Ablation("latent size", "neurokin-frames", "How wide must the vector be that the picture is unfolded from?", (
        Variant("128", {}),
        Variant("256", {"size": "128x256-8-8"}),
        Variant("64", {"size": "128x64-8-8"}),
        Variant("32", {"size": "128x32-8-8"}),
        Variant("8", {"size": "128x8-8-8"}),
    )),
    Ablation("depth head", "resneurokin-d", "Does learning depth help or hurt the silhouette?", (
        Variant("depth learned", {}),
        Variant("depth weighs 10 times", {"depth_weight": 10.0}),
        Variant("depth not learned", {"depth_weight": 0.0}),
    )),
    Ablation("depth head", "k3dgs", "What do silhouettes lose where depth is learned, too, in the same time?", (
        Variant("silhouettes alone", {}),
        Variant("depth learned", {"depth": True}),
    )),
    Ablation("depth", "resneurokin-d", "How many residual blocks does the decoder need?", (
        Variant("size m: 1 + 2 blocks", {}),
        Variant("size l: 2 + 3 blocks, wider", {"size": "l"}),
        Variant("size s: 1 + 1 blocks, narrower", {"size": "s"}),
    )),
    Ablation("curriculum", "ffksm", "What does the curriculum do: a centre crop first, robot pixels weighed?", (
        Variant("with", {}),
        Variant("without", {"size": "m-no-curriculum"}),
    )),
    Ablation("anisotropy", "k3dgs", "What do ellipsoids add to balls, which the published method was reduced to?", (
        Variant("12 ellipsoids a part", {}),
        Variant("24 balls a part", {"size": "l-isotropic"}),
        Variant("12 balls a part", {"size": "m-isotropic"}),
    )),
)
