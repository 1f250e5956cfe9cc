"""What training does about a changed arm, to hold the adapted body against: a new body of its last frames, and the same
beside healthy frames that are replayed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekin.adapting.plan import AdaptPlan
from edgekin.adapting.scene import Scene
from edgekin.bundle import load_bundle
from edgekin.errors import ConfigError
from edgekin.sim.dataset import Dataset
from edgekin.sim.episode import Frames
from edgekin.training.rebody import Rebodied, rebody
from edgekin.training.run import load_run

#: Frames of the changed arm, of the time that is watched after the alarm; share of healthy samples that is replayed.
RECENT, REPLAY = 100, 0.5
#: Called with (stage, steps done, steps in all).
Report = Callable[[str, int, int], None]


def retrain(folder: Path, plan: AdaptPlan, report: Report = lambda stage, done, total: None) -> dict[str, Rebodied]:
    """Fit the body model of the run that a bundle was compiled of to the changed arm, in ways of training.

    Args:
        folder: a bundle, inside its run.
        plan: what happens to the simulated arm.
        report: called with every step.

    Returns:
        "new body" of the last frames alone; "fine-tuned with replay".

    Raises:
        ConfigError: the bundle lies in no run, or frames were recorded.
        MissingExtra: torch is not installed.
    """
    if plan.data is not None:
        raise ConfigError("--retrain scores on a simulated arm, and --data is a recording", "Leave one of them out")
    run = load_run(folder.resolve().parent)
    scene = Scene(load_bundle(folder), plan)
    recent = scene.recent(RECENT)
    width = scene.robot.cameras[0].width

    def dataset(frames: Frames) -> Dataset:
        return Dataset(np.asarray(frames.joint_pos), frames.masks, width)

    tests = dataset(scene.damaged), dataset(scene.healthy)
    out = {}
    for name, replay in (("new body", 0.0), ("fine-tuned with replay", REPLAY)):
        def told(done: int, total: int, name: str = name) -> None:
            report(name, done, total)

        out[name] = rebody(run, dataset(recent), replay, tests, plan.seed, told)
    return out
