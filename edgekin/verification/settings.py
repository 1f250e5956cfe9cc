"""What a verification can be told, and what it always does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekin.bundle import runs_root
from edgekin.pieces import folder_name
from edgekin.ranges import check_ranges

#: Length of a healthy stream: each is a trajectory of its own.
STREAM_S = 60.0
#: Healthy streams that the baselines' thresholds are set on.
CALIBRATION_STREAMS = 30
#: A case begins after some healthy seconds, and is watched for so long.
ONSET_S, AFTER_S = (3.0, 8.0), 20.0
#: What a detector makes of its alarm is read so many frames later.
REFINE_FRAMES = 30
#: Of every so many streams one is watched by the baselines, too.
BASELINE_EVERY = 3
#: Independent poses of every case whose single frames are told from healthy ones.
SINGLE_POSES = 300


@dataclass(frozen=True)
class VerifyConfig:
    """A verification of the detectors of one bundle."""

    bundle: Path
    hours: float = 3.0  # of healthy motion
    cases: str = "all"  # all | quick | a file of cases | cases by name, separated by commas
    camera_hz: float = 60.0
    cameras: int | None = None  # of the bundle's, the first so many; None: all
    runs: int = 20  # of every damage
    nuisance_runs: int | None = None  # of every nuisance; None: as many
    false_alarms_per_hour: float = 1.0  # that the baselines' thresholds are set to
    baselines: bool = True
    jobs: int | None = None  # processes; None: one a core
    seed: int = 0
    out: Path | None = None  # the folder; None: verify-<run>-<bundle> among the runs

    def validated(self) -> VerifyConfig:
        """Return itself; raises ConfigError for a value that cannot be used."""
        check_ranges((("--hours", self.hours, STREAM_S / 3600, 1000.0), ("--camera-hz", self.camera_hz, 1.0, 10_000.0),
                      ("--cameras", self.cameras, 1, 4), ("--runs", self.runs, 1, 10_000),
                      ("--nuisance-runs", self.nuisance_runs, 0, 10_000),
                      ("--false-alarms-per-hour", self.false_alarms_per_hour, 1e-3, 1000.0),
                      ("--jobs", self.jobs, 1, 256), ("--seed", self.seed, 0, 2**31 - 1)))
        return self

    @property
    def folder(self) -> Path:
        """Where the verification goes."""
        path = self.bundle.resolve()
        named = f"verify-{folder_name(path.parent.name)}-{folder_name(path.name)}"
        return self.out if self.out is not None else runs_root() / named

    @property
    def streams(self) -> int:
        """Healthy streams."""
        return max(1, round(self.hours * 3600 / STREAM_S))

    @property
    def processes(self) -> int:
        """How many work at once."""
        return self.jobs or len(os.sched_getaffinity(0))

    def to_json(self) -> dict[str, Any]:
        """Return what a result says of its settings."""
        return {"hours": self.hours, "cases": self.cases, "camera_hz": self.camera_hz, "cameras": self.cameras,
                "runs": self.runs, "nuisance_runs": self.runs if self.nuisance_runs is None else self.nuisance_runs,
                "false_alarms_per_hour": self.false_alarms_per_hour, "stream_s": STREAM_S,
                "calibration_streams": CALIBRATION_STREAMS, "onset_s": list(ONSET_S), "after_s": AFTER_S,
                "refine_frames": REFINE_FRAMES, "baseline_every": BASELINE_EVERY, "single_poses": SINGLE_POSES}
