"""Encoders that go wrong slowly: what pictures tell of it before there is an alarm, and what a controller gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekin import machine
from edgekin.bundle import Bundle, load_bundle
from edgekin.errors import ConfigError
from edgekin.opening import inspector_config, open_body
from edgekin.ranges import check_ranges
from edgekin.robot import parse_events
from edgekin.robot.events import joined
from edgekin.robot.spec import Float
from edgekin.runtime.findings import Drift
from edgekin.runtime.inspector import Inspector
from edgekin.sim.episode import Episode, Frames, seed_of
from edgekin.sim.reach import read_tip, tip, tip_error_m, tip_of

SCHEMA = "edgekin.drift/1"
#: Seconds between two looks at the estimates, and how many of these there are from one look at the tip to the next.
LOOK_S, LOOKS = 1.0, 10
#: That a controller reaches for at every look at the tip.
TARGETS = 50

#: Called with (frames done, frames in all).
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class DriftPlan:
    """What happens to which encoder, and for how long."""

    damage: str = "encoder-drift:2:0.2@5"  # KIND:..., joined by "+"
    seconds: float = 90.0
    camera_hz: float = 60.0
    seed: int = 0  # of motion and noise

    def validated(self) -> DriftPlan:
        """Return the plan itself; raises ConfigError where it cannot be followed."""
        check_ranges((("--camera-hz", self.camera_hz, 1.0, 100_000.0), ("--seed", self.seed, 0, 2**31 - 1),
                      ("--seconds", self.seconds, LOOK_S * LOOKS, 3600.0)))
        events = parse_events(self.damage)
        if not events or any(event.entry.acts_on != "encoder" for event in events):
            raise ConfigError(f"--damage is {joined(events) or 'empty'}, expected what happens to encoders",
                              "Take encoder-bias, encoder-drift or encoder-gain")
        return self


@dataclass(frozen=True)
class Look:
    """What is known at a time."""

    time_s: float
    true_deg: tuple[float, ...]  # (J,) that every encoder reads too much, mean of the last second
    drifts: tuple[Drift, ...]  # (J,) as pictures have it; empty while nothing is known
    tip_mm: float | None = None  # by how much a controller misses; None: was not looked at
    corrected_mm: float | None = None  # the same, with what is sure of the drift taken off its encoders

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"time_s": self.time_s, "true_deg": list(self.true_deg),
                "drift": [drift.to_json() for drift in self.drifts], "tip_mm": self.tip_mm,
                "corrected_mm": self.corrected_mm}


@dataclass(frozen=True)
class Drifted:
    """What came of it."""

    plan: DriftPlan
    bundle: Path
    joints: tuple[str, ...]
    looks: tuple[Look, ...]
    alarm_s: float | None  # None: no alarm
    alarm: str = ""  # class
    named: str = ""

    @property
    def first_s(self) -> dict[str, float]:
        """By joint: when its interval first excluded 0."""
        return {one.joint: look.time_s for look in reversed(self.looks) for one in look.drifts if one.sure}

    @property
    def tips(self) -> tuple[Look, ...]:
        """The looks at the tip."""
        return tuple(look for look in self.looks if look.tip_mm is not None)

    def to_json(self) -> dict[str, Any]:
        """Return the schema `edgekin.drift/1`."""
        return {"schema": SCHEMA, "revision": machine.revision(), "seed": self.plan.seed, "bundle": str(self.bundle),
                "damage": self.plan.damage, "joints": list(self.joints), "alarm_s": self.alarm_s,
                "alarm": self.alarm or None, "named": self.named or None, "first_s": self.first_s,
                "looks": [look.to_json() for look in self.looks], "settings": asdict(self.plan),
                "machine": machine.describe()}


def drift(folder: Path, plan: DriftPlan, report: Report = lambda done, total: None) -> Drifted:
    """Watch a simulated arm whose encoders go wrong, with and without what pictures tell fed to its controller.

    An alarm changes nothing here: the inspector goes on.

    Args:
        folder: a bundle whose inspector was calibrated.
        plan: what happens.
        report: called about once a second of the arm's.

    Raises:
        BundleError: no bundle, or one without body model or inspector.
        ConfigError: the plan cannot be followed, or an event does not fit the robot.
    """
    plan = plan.validated()
    bundle = load_bundle(folder)
    config = inspector_config(bundle).at(plan.camera_hz)
    looks: list[Look] = []
    stream = Episode(bundle.robot, parse_events(plan.damage), plan.camera_hz, plan.seconds, seed_of(plan.seed, "drift"))
    alarm: tuple[float | None, str, str] = None, "", ""
    with open_body(bundle) as engine, Inspector(engine, config) as inspector:
        for frames in stream.chunks(max(1, round(LOOK_S * plan.camera_hz))):
            for q, sent, masks in zip(frames.joint_pos, frames.commanded, frames.masks, strict=True):
                if inspector.judge(q, masks, sent) and alarm[0] is None:
                    found = inspector.finding
                    alarm = (found.alarm_frame - 1) / plan.camera_hz, found.alarm, str(found.named)
            looks.append(_look(bundle, stream, frames, inspector.drifts(), (len(looks) + 1) % LOOKS == 0))
            report(frames.first + len(frames), stream.n_frames)
    return Drifted(plan, bundle.path, config.joints, tuple(looks), *alarm)


def _look(bundle: Bundle, stream: Episode, frames: Frames, drifts: tuple[Drift, ...], tips: bool) -> Look:
    robot, now = bundle.robot, float(frames.time_s[-1])
    too_much = tuple(np.degrees((frames.joint_pos - frames.true_pos).mean(axis=0)).tolist())
    if not tips:
        return Look(now, too_much, drifts)
    events = tuple(event for event in stream.events if event.onset_s <= now)
    at, seed = tip_of(robot), stream.seed % 2**32
    true, believed = read_tip(robot, at, events, stream.seed, now), tip(robot, at)
    sure = np.radians([one.deg if one.sure else 0.0 for one in drifts] or [0.0] * len(robot.limits))

    def corrected(q: Float) -> Float:
        return believed(q - sure)

    plain, fed = (1e3 * tip_error_m(body, true, robot.limits, TARGETS, seed) for body in (believed, corrected))
    return Look(now, too_much, drifts, plain, fed)
