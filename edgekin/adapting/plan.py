"""What `edgekin adapt` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekin.detection.adaptation import FIT_FRAMES, TRY_FRAMES
from edgekin.errors import ConfigError
from edgekin.ranges import check_ranges
from edgekin.robot import parse_events


@dataclass(frozen=True)
class AdaptPlan:
    """What happens to the arm, and how long is watched."""

    damage: str = "bend:2:10"  # KIND:..., joined by "+"
    frames: int = FIT_FRAMES + TRY_FRAMES  # from the alarm until the body is adapted
    seconds: float = 10.0  # of motion after that
    camera_hz: float = 60.0
    seed: int = 0  # of motion and noise
    data: Path | None = None  # frames in the order of time, at camera_hz, instead of simulated ones

    def validated(self) -> AdaptPlan:
        """Return the plan itself; raises ConfigError where it cannot be followed."""
        least = TRY_FRAMES + FIT_FRAMES // 2
        check_ranges((("--camera-hz", self.camera_hz, 1.0, 100_000.0), ("--frames", self.frames, least, 100_000),
                      ("--seed", self.seed, 0, 2**31 - 1), ("--seconds", self.seconds, 0.0, 3600.0)))
        if not parse_events(self.damage):
            raise ConfigError("--damage is empty: there is nothing to adapt to", "Name one: edgekin damages lists them")
        return self
