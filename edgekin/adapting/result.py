"""What came of an adaptation, and the figures that it is told by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin import machine
from edgekin.adapting.plan import AdaptPlan
from edgekin.detection.adaptation import Adaptation
from edgekin.detection.pool import LOST, Change

SCHEMA = "edgekin.adapt/1"


@dataclass(frozen=True)
class Quality:
    """How good one body is, against the arm as it then is; None: not known."""

    psnr_db: float
    tip_mm: float | None = None


@dataclass(frozen=True)
class Adapted:
    """What came of it."""

    plan: AdaptPlan
    bundle: Path
    first: Adaptation  # the first alarm's
    change: Change | None  # what holds in the end
    offsets: NDArray[np.float64]  # (J,) rad that encoders then read too much of commands
    healthy: Quality | None  # the model, before
    damaged: Quality | None  # the model, after
    adapted: Quality | None  # the adapted body, after `frames`; None: there is none
    refined: Quality | None  # the same, after `seconds` more
    patched: Quality | None  # the model with a linear patch, where no parameter explains; None: not tried
    patch_state: str | None  # ADAPTED or GIVEN_BACK: whether fresh pictures became better by it
    patch_ms: float | None  # of a picture in it, p50
    delay_frames: int | None  # from the damage to the alarm; None: no alarm, or not known
    restored: bool  # whether giving back gave the model's predictions, bit for bit
    repaired_db: float | None  # what the body loses on the healthy arm once it moved like that again; None: not tried
    judge_ms: dict[str, float]  # of a frame in the adapter: p50, p99, max
    pictures: tuple[NDArray[np.float64], ...]  # (V, H, W) truth, the model's, the adapted body's; of one pose

    @property
    def lost(self) -> str | None:
        """The link that the body in the end has not, in words."""
        return next((named.part for named in self.change.named if named.what == LOST), None) if self.change else None

    @property
    def gap_closed(self) -> float | None:
        """Share of the PSNR that was lost and is back, after all that was watched."""
        ends = self.refined or self.adapted
        if ends is None or self.healthy is None or self.damaged is None:
            return None
        return share_of_gap(self.healthy, self.damaged, ends)

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.adapt/1`."""
        change, plan, first = self.change, self.plan, self.first
        bodies = {name: None if q is None else asdict(q) for name, q in (
            ("healthy", self.healthy), ("damaged", self.damaged), ("adapted", self.adapted), ("refined", self.refined),
            ("patched", self.patched))}
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": plan.seed, "bundle": str(self.bundle),
                "damage": plan.damage if plan.data is None else None, "data": str(plan.data) if plan.data else None,
                "state": first.state, "named": str(first.named) if first.named else None,
                "changes": [str(named) for named in change.named] if change else [],
                "sizes_rad_or_share": change.sizes.tolist() if change else None,
                "offsets_rad": self.offsets.tolist(), "lost": self.lost, "bodies": bodies,
                "gap_closed": self.gap_closed,
                "delay_frames": self.delay_frames, "frames": frames_of(first),
                "milliseconds": milliseconds_of(self), "judge_ms": self.judge_ms,
                "patch": {"state": self.patch_state, "ms": self.patch_ms} if self.patch_state else None,
                "given_back_exactly": self.restored, "repaired_loss_db": self.repaired_db,
                "settings": {**asdict(plan), "data": str(plan.data) if plan.data else None},
                "machine": machine.describe()}


def share_of_gap(healthy: Quality, damaged: Quality, now: Quality) -> float | None:
    """Return the share of lost PSNR that is back; None where hardly any was lost."""
    lost = healthy.psnr_db - damaged.psnr_db
    return (now.psnr_db - damaged.psnr_db) / lost if lost > 0.1 else None


def frames_of(result: Adaptation) -> int | None:
    """Return how many pictures it took from the alarm; None where nothing was decided."""
    if result.alarm_frame is None or result.done_frame is None:
        return None
    return result.done_frame - result.alarm_frame


def milliseconds_of(found: Adapted) -> float | None:
    """Return how long that is at the camera's rate, with the work on the last frame, ms."""
    frames = frames_of(found.first)
    return None if frames is None else 1e3 * frames / found.plan.camera_hz + found.judge_ms["p50"]
