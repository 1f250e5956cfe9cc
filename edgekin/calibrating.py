"""A bundle's inspector calibrated on healthy motion: what `edgekin calibrate-detector` runs. Numpy and C only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekin import machine
from edgekin.bundle import INSPECTION, Bundle, load_bundle, with_file
from edgekin.detection.inspection import BLOCK_S, BLOCKS, Healthy, calibrate, check_hours
from edgekin.detection.looks import LEAST_FRAMES, Stretch
from edgekin.errors import BundleError, ConfigError, DataError
from edgekin.opening import open_body
from edgekin.ranges import check_ranges
from edgekin.runtime.inspector_config import InspectorConfig
from edgekin.sim.dataset import Dataset, check_fits, load_dataset
from edgekin.sim.episode import Episode, Noise, seed_of

SCHEMA = "edgekin.calibrate-detector/1"
#: What spreads are fitted to: streams of a minute, whose frames need not be many, but of many poses.
FIT_HZ, FIT_S = 60.0, 60.0
#: Frames to watch where no hours are asked for: a minute on one core of 2020. Half an hour at 60 Hz.
WATCH_FRAMES = 108_000
#: More often than in every other stretch is no rate of false alarms.
MOST_PER_HOUR = 1800.0 / BLOCK_S


@dataclass(frozen=True)
class InspectionPlan:
    """What an inspector is calibrated on, and for."""

    camera_hz: float = 60.0  # fresh pictures a second that it will see
    per_hour: float = 1.0  # false alarms that are allowed
    hours: float | None = None  # of simulated motion that set the thresholds; None: see watched_hours
    fit_minutes: float | None = None  # of simulated motion that the spreads are fitted to; None: 20
    data: Path | None = None  # healthy frames in the order of time, at camera_hz, instead of simulated ones
    seed: int = 0  # of the simulated motion

    @property
    def watched_hours(self) -> float:
        """Hours of simulated motion that set the thresholds."""
        default = max(WATCH_FRAMES / self.camera_hz, BLOCKS * BLOCK_S) / 3600
        return default if self.hours is None else self.hours

    @property
    def fitted_minutes(self) -> float:
        """Minutes of simulated motion that the spreads are fitted to."""
        return 20.0 if self.fit_minutes is None else self.fit_minutes

    def validated(self) -> InspectionPlan:
        """Return the plan itself; raises ConfigError or DataError where it cannot be followed."""
        least = LEAST_FRAMES / FIT_HZ / 60
        check_ranges((
                ("--camera-hz", self.camera_hz, 1.0, 100_000.0),
                ("--false-alarms-per-hour", self.per_hour, 1e-6, MOST_PER_HOUR),
                ("--hours", self.hours, 0.0, 10_000.0), ("--fit-minutes", self.fit_minutes, least, 10_000.0),
                ("--seed", self.seed, 0, 2**31 - 1)))
        if self.data is not None and (self.hours is not None or self.fit_minutes is not None):
            raise ConfigError("--hours and --fit-minutes say how much is simulated, and with --data nothing is",
                              "Leave them out: every other stretch of the data is fitted to, the rest is watched")
        if self.data is None:
            check_hours(self.blocks, BLOCK_S, self.per_hour)
        return self

    @property
    def blocks(self) -> int:
        """Simulated stretches to watch."""
        return round(self.watched_hours * 3600 / BLOCK_S)


@dataclass(frozen=True)
class Recorded:
    """A stretch of recorded frames; see edgekin.detection.looks.HealthyFrames."""

    first: int
    joint_pos: NDArray[np.float64]
    masks: NDArray[np.uint8]
    commanded: None = None  # data sets have none


@dataclass(frozen=True)
class Calibrated:
    """An inspector that was calibrated and put into its bundle."""

    bundle: Path
    config: InspectorConfig
    record: dict[str, Any]  # `calibration` of inspection.json
    seconds: float  # that it took

    def to_json(self) -> dict[str, Any]:
        """Return the content of `--json`."""
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": self.record["seed"],
                "bundle": str(self.bundle), "threshold": self.config.threshold,
                "unexplained_sum": self.config.unexplained_sum, "camera_hz": self.config.camera_hz,
                "calibration": self.record, "seconds": round(self.seconds, 1), "machine": machine.describe()}


#: Called with (stage, stretches done, stretches in all).
Report = Callable[[str, int, int], None]


def calibrate_bundle(folder: Path, plan: InspectionPlan, force: bool = False,
                     report: Report = lambda stage, done, total: None) -> Calibrated:
    """Calibrate the inspector of a bundle's body model, and write inspection.json into the bundle.

    Args:
        folder: the bundle.
        plan: on what, and for what.
        force: replace an inspection.json.
        report: called as the work goes on.

    Raises:
        ConfigError: the plan cannot be followed.
        BundleError: no bundle, one without a body model or with an inspection.json, or one that cannot be written to.
        DataError: too little healthy motion for what is asked, or motion that is not healthy.
        GateMissed: the inspector gives more false alarms than allowed, whatever its thresholds.
    """
    plan, began = plan.validated(), time.monotonic()
    bundle = load_bundle(folder)
    if bundle.inspection and not force:
        raise BundleError(f"bundle {folder} has an {INSPECTION} already; nothing was overwritten",
                          "Add --force to calibrate it anew")
    with open_body(bundle) as engine:
        healthy = _recorded(bundle, plan) if plan.data is not None else _simulated(bundle, plan)
        total, done = len(healthy.fit) + len(healthy.watch) + 1, 0

        def progress(what: str) -> None:
            nonlocal done
            done += 1
            report({"look": "look at healthy motion", "fit": "fit"}.get(what, "watch healthy motion"), done, total)

        config, record = calibrate(engine, bundle.robot, plan.camera_hz, plan.per_hour, healthy, progress)
    simulated = {"data": None, "seed": plan.seed, "noise": asdict(Noise())}
    record |= simulated if plan.data is None else {"data": str(plan.data), "seed": None, "noise": None}
    record |= {"revision": machine.revision()}
    content = json.dumps(config.to_json() | {"calibration": record}, indent=2) + "\n"
    with_file(bundle, INSPECTION, content.encode())
    return Calibrated(folder, config, record, time.monotonic() - began)


def _test_error(bundle: Bundle) -> float:
    """The squared error of a picture of the body model's own test, summed over pixels; 0: the manifest has none."""
    parity = bundle.manifest["body"].get("parity") or bundle.manifest.get("parity") or {}
    pixels = sum(camera.width * camera.height for camera in bundle.robot.cameras)
    return pixels * float(10.0 ** (-parity["psnr_db"] / 10)) if "psnr_db" in parity else 0.0


def _healthy(bundle: Bundle, fit: Sequence[Stretch], watch: Sequence[Stretch]) -> Healthy:
    """The motion, and what the manifest says about the model before it."""
    return Healthy(fit, watch, BLOCK_S, bool(bundle.manifest["body"].get("n_about")), _test_error(bundle))


def _simulated(bundle: Bundle, plan: InspectionPlan) -> Healthy:
    count = max(1, round(plan.fitted_minutes * 60 / FIT_S))
    seconds = plan.fitted_minutes * 60 / count
    fit = [Episode(bundle.robot, (), FIT_HZ, seconds, seed_of(plan.seed, "inspection fit", i)) for i in range(count)]
    watch = [Episode(bundle.robot, (), plan.camera_hz, BLOCK_S, seed_of(plan.seed, "inspection watch", i))
             for i in range(plan.blocks)]
    return _healthy(bundle, fit, watch)


def _recorded(bundle: Bundle, plan: InspectionPlan) -> Healthy:
    """Stretches of recorded frames, dealt out in turn."""
    assert plan.data is not None
    data = load_dataset(plan.data)
    check_fits(data, bundle.robot, str(plan.data))
    if data.view is not None or data.meta.get("excitation") == "sobol":
        raise DataError(f"dataset {plan.data} has {'many cameras' if data.view is not None else 'poses in no order'}, "
                        "and an inspector is calibrated on one motion after another, as the robot's own camera sees it",
                        "Give a recording in the order of time, or leave --data out")
    stretches = _stretches(data, round(BLOCK_S * plan.camera_hz))
    watch = stretches[1::2]
    check_hours(len(watch), BLOCK_S, plan.per_hour)
    return _healthy(bundle, [[one] for one in stretches[::2]], [[one] for one in watch])


def _stretches(data: Dataset, size: int) -> list[Recorded]:
    """Whole ones; what is left over at the end is not used."""
    return [Recorded(first, data.joint_pos[first:first + size], data.packed[first:first + size])
            for first in range(0, len(data) - size + 1, size)]
