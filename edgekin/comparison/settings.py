"""What a comparison can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError
from edgekin.pieces import folder_name
from edgekin.ranges import check_ranges
from edgekin.training.settings import runs_folder


@dataclass(frozen=True)
class Preset:
    """How much is done."""

    name: str
    about: str  # for the page
    train: int  # samples of a row
    test: int  # samples that everything is scored on
    points: tuple[int, ...]  # samples of the data-efficiency curve
    variants: int | None  # of an ablation at most: the first is what the others differ from; None: all
    whole_s: float | None  # seconds of all trainings together, whatever the cores; None: as the contestants' entries
    latency_s: float  # of timing, all engines together
    latency_frames: int  # that each engine runs at least
    poses: int  # of the panels
    slow: bool  # curves, ablations and every engine of slow models, too

    @property
    def ablated(self) -> int:
        """Samples of an ablation: the longest training of the curve, which then is shared."""
        return self.points[-1]


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("quick", "Budgets are seconds, test samples few and curves of three points: it shows that things "
               "work, how, and roughly who is where. Scores are below what a full training reaches.",
               1600, 200, (25, 100, 400), 2, 280.0, 12.0, 20, 4, False),
        Preset("full", "The whole budgets are those of training to convergence.",
               1600, 1000, (10, 25, 50, 100, 200, 400, 800, 1600), None, None, 60.0, 200, 4, True),
    )
}


@dataclass(frozen=True)
class CompareConfig:
    """A comparison on one robot."""

    robot: str = "arm4"  # name, URDF or RobotSpec YAML
    preset: str = "quick"  # a key of PRESETS
    models: tuple[str, ...] = ()  # of the contestants; empty: all
    runs: Mapping[str, str] = field(default_factory=dict)  # model -> a finished run that is taken for its row
    budget: float = 1.0  # factor of the seconds of every training, and below 1 of the timing
    seed: int = 0  # of samples, weights and order
    jobs: int | None = None  # trainings at once; None: one a core, and one where there is a GPU
    out: Path | None = None  # the folder; None: compare-<robot>-<preset> among the runs

    def validated(self) -> CompareConfig:
        """Return itself; raises ConfigError for a value that cannot be used."""
        if self.preset not in PRESETS:
            raise ConfigError(f"preset is {self.preset!r}", f"Use one of: {', '.join(PRESETS)}")
        check_ranges((("--budget", self.budget, 1e-3, 100.0), ("--seed", self.seed, 0, 2**31 - 1),
                      ("--jobs", self.jobs, 1, 256)))
        return self

    def folder(self, robot: str) -> Path:
        """Return where the comparison of a robot of this name goes."""
        return self.out if self.out is not None else runs_folder() / f"compare-{folder_name(robot)}-{self.preset}"

    @property
    def identity(self) -> dict[str, Any]:
        """What two calls must share to go on with each other's work in one folder; JSON-ready."""
        return {"preset": self.preset, "seed": self.seed, "budget": self.budget}
