"""Who is compared: one entry a model, and the published figures, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edgekin.errors import ConfigError
from edgekin.models import MODELS
from edgekin.training.settings import BODY, PAIR_BUDGET_S, TrainConfig


@dataclass(frozen=True)
class Contestant:
    """A model as it is compared: how it is built and how long it is trained for."""

    name: str  # of its row
    model: str  # a key of edgekin.models.MODELS
    about: str  # one line for the page
    full_s: float = 300.0  # seconds of training of its row, preset full, up to FEW_JOINTS joints
    short_s: float = 90.0  # the same of each point of a curve or an ablation
    settings: Mapping[str, Any] = field(default_factory=dict)  # of TrainConfig, besides model, data, budget and seed
    slow: bool = False  # to draw: preset quick trains its row alone, and times it in torch alone

    @property
    def missing(self) -> str:
        """Why it cannot be trained here; empty where it can."""
        if self.model not in MODELS:
            return f"there is no model {self.model} in this version"
        unknown = sorted(set(self.settings) - {f.name for f in fields(TrainConfig)})
        return f"training has no setting {unknown[0]} in this version" if unknown else ""


_TABLE = (
    Contestant("ffksm", "ffksm", "a field of density and visibility over points and joint angles, marched along rays",
               full_s=2400.0, short_s=400.0, slow=True),
    Contestant("resneurokin-d", "resneurokin-d", "neurokin with residual blocks and a head for metric depth; "
               "distilled, too", full_s=600.0, short_s=180.0, settings={"teacher": BODY}),
    Contestant("k3dgs", "k3dgs", "soft ellipsoids on the kinematic chain, drawn by its cameras"),
    Contestant("neurokin", "neurokin", "joint angles to an MLP, a quarter-resolution map, 3x3 convolutions and a pixel "
               "shuffle; distilled from a body model that is trained first, on the same samples",
               full_s=PAIR_BUDGET_S, short_s=180.0, settings={"teacher": BODY}),
    Contestant("neurokin-frames", "neurokin", "the same network, trained on the samples alone"),
)


def contestants() -> dict[str, Contestant]:
    """Return who can be compared, by name: the table's entries, and every other model of the registry as it comes."""
    known = [c for c in _TABLE if not c.missing]
    others = [Contestant(name, name, "") for name in MODELS if name not in {c.model for c in known}]
    return {c.name: c for c in (*known, *others)}


def chosen(names: tuple[str, ...]) -> list[Contestant]:
    """Return the contestants of these names, or all where none are given.

    Raises:
        ConfigError: a name that is not known.
    """
    known = contestants()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(f"model {name!r} is not known to the comparison",
                              f"Did you mean {close[0]!r}?" if close else f"Use some of: {', '.join(known)}")
    return [known[name] for name in names or known]


#: The published table, and what its figures are. Source: the methods' own logs and code, measured again.
PUBLISHED: dict[str, Any] = {
    "what": "4-joint arm, 2,000 Lorenz samples in time order (1,600 train, 400 test), 100x100 masks, NVIDIA T4; PSNR "
            "over the first 100 test images",
    "floors": {"mean_image": {"psnr_db": 17.97}, "nearest": {"psnr_db": 19.45}},
    "rows": [
        {"model": "ffksm", "psnr_db": 17.35, "fps": 5.22, "latency_ms": 191.6, "train_seconds": 3000.0},
        {"model": "k3dgs", "psnr_db": 17.01, "fps": 37.0, "latency_ms": 27.0, "train_seconds": 48.0},
        {"model": "neurokin", "psnr_db": 21.88, "fps": 7400.0, "latency_ms": 0.135, "train_seconds": 30.0},
        {"model": "resneurokin-d", "psnr_db": 21.23, "fps": 2500.0, "latency_ms": 0.4, "train_seconds": 360.0},
    ],
    "caveats": [
        "Published frames a second are training throughput: a batch of 32 over the time of an unsynchronised training "
        "step. Latency at batch 1 was not measured.",
        "Published masks took the ground for robot: half of every picture is on, whatever the joints do.",
        "Floors were not published. On that data the constant mean image scores 17.97 dB and the nearest training pose "
        "19.45 dB: ffksm and k3dgs as published lie below the constant picture.",
        "Published joints covered -46 to 53 degrees, and the test split is the last fifth of one trajectory.",
        "The authors of ffksm report 23.3 dB on their own arm (nearest pose 19.7): the published 17.35 dB is an "
        "under-trained baseline.",
        "Published depth was computed from the joint angles by a formula; here it is the simulator's metric depth.",
        "So published and measured figures are of other pictures and other quantities: read each beside its floors.",
    ],
}
