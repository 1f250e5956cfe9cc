"""The units of a verification: done in any process, and kept on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from edgekin.bundle import load_bundle
from edgekin.errors import ConfigError
from edgekin.machine import revision
from edgekin.pieces import BEGIN_AGAIN, PieceStore
from edgekin.robot.spec import RobotSpec
from edgekin.sim.episode import Episode, seed_of
from edgekin.verification.baselines import baselines_of, fitted_rules
from edgekin.verification.example import example
from edgekin.verification.observed import Observed, Observer
from edgekin.verification.plan import CALIBRATION, CASE, EXAMPLE, HEALTHY, SINGLE, Unit
from edgekin.verification.rules import Rule
from edgekin.verification.settings import BASELINE_EVERY, SINGLE_POSES, VerifyConfig
from edgekin.verification.streams import Watched, case_stream, follow, healthy_stream, short
from edgekin.verification.subject import Subject
from edgekin.verification.subjects import subjects_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all units share; small, can be pickled, and is equal to itself in every process."""

    config: VerifyConfig
    store: PieceStore | None = field(default=None, compare=False)  # None: nothing is kept or read
    calibration: tuple[str, ...] = ()  # keys of the pieces that the baselines are fitted to
    thresholds: tuple[tuple[str, float], ...] = ()  # of the baselines; empty: not known yet, or none are wanted


def seen_by(robot: RobotSpec, cameras: int | None) -> RobotSpec:
    """Return a robot with its first so many cameras.

    Raises:
        ConfigError: it has fewer.
    """
    if cameras is not None and cameras > len(robot.cameras):
        raise ConfigError(f"--cameras is {cameras}, but {robot.name} of this bundle has {len(robot.cameras)}",
                          "Train on a robot with more cameras (docs/robots.md)")
    return replace(robot, cameras=robot.cameras[:cameras])


class Bench:
    """The bundle and its subjects, opened once in every process."""

    def __init__(self, setting: Setting) -> None:
        config = setting.config
        self.setting, self.bundle, self.revision = setting, load_bundle(config.bundle), revision()
        self.robot = seen_by(self.bundle.robot, config.cameras)
        self.all_cameras = len(self.robot.cameras) == len(self.bundle.robot.cameras)

    @cached_property
    def observer(self) -> Observer:
        """The engine that baselines and pictures share."""
        return Observer(self.bundle, len(self.robot.cameras))

    @cached_property
    def subjects(self) -> list[Subject]:
        """The bundle's own; the first is the one that is verified."""
        return subjects_of(self.bundle, self.robot, self.setting.config.camera_hz)

    @cached_property
    def calibration(self) -> list[Observed]:
        """The healthy streams that baselines are fitted to."""
        store = self.setting.store
        found = [store.read(key) for key in self.setting.calibration] if store is not None else []
        if None in found:
            raise ConfigError("a calibration stream was finished and is gone", BEGIN_AGAIN)
        return [Observed.from_json(piece["observed"]) for piece in found if piece is not None]

    @cached_property
    def rules(self) -> list[Rule]:
        """The baselines' rules, fitted."""
        return fitted_rules(self.calibration, self.all_cameras)

    @cached_property
    def compared(self) -> list[Subject]:
        """All subjects of the streams that all of them watch."""
        if not self.setting.thresholds:
            return self.subjects
        return self.subjects + baselines_of(self.rules, self.observer, dict(self.setting.thresholds))

    def watching(self, number: int) -> list[Subject]:
        """Return who watches the stream or run of a number."""
        return self.compared if number % BASELINE_EVERY == 0 else self.subjects[:1]


@lru_cache(maxsize=1)
def bench_of(setting: Setting) -> Bench:
    """Return what this process has opened: once, for all units of a setting."""
    return Bench(setting)


def _calibration(bench: Bench, unit: Unit) -> Json:
    config = bench.setting.config
    stream = healthy_stream(bench.robot, config.camera_hz, config.seed, CALIBRATION, unit.first)
    parts = [bench.observer.of(frames) for frames in stream]
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("nll", "squared", "iou", "z"))
    return {"frames": stream.n_frames, "observed": Observed(*columns).to_json()}


def _watched(found: dict[str, Watched], times: dict[str, Counter[int]]) -> Json:
    for name, watched in found.items():
        if watched.times:
            times.setdefault(name, Counter()).update(watched.times)
    return {name: watched.to_json() for name, watched in found.items()}


def _times_json(times: dict[str, Counter[int]]) -> Json:
    return {name: {str(ns): count for ns, count in sorted(counted.items())} for name, counted in times.items()}


def _healthy(bench: Bench, unit: Unit) -> Json:
    config, times = bench.setting.config, dict[str, Counter[int]]()
    stream = healthy_stream(bench.robot, config.camera_hz, config.seed, HEALTHY, unit.first)
    found = _watched(follow(stream, bench.watching(unit.first), refine=0), times)
    return {"stream": unit.first, "frames": stream.n_frames, "subjects": found, "times_ns": _times_json(times)}


def _case(bench: Bench, unit: Unit) -> Json:
    assert unit.case is not None
    config, times, runs = bench.setting.config, dict[str, Counter[int]](), []
    for run in range(unit.first, unit.last):
        stream = case_stream(bench.robot, unit.case, config.camera_hz, config.seed, run)
        found = _watched(follow(stream, bench.watching(run)), times)
        runs.append({"run": run, "onset": stream.onset_frame, "frames": stream.n_frames, "subjects": found})
    return {"case": unit.case.name, "runs": runs, "times_ns": _times_json(times)}


def _single(bench: Bench, unit: Unit) -> Json:
    config, name = bench.setting.config, "" if unit.case is None else unit.case.name
    events = () if unit.case is None else unit.case.events
    # Each case has poses of its own: what tells it from the healthy ones is then no accident of theirs.
    frames = Episode(bench.robot, events, config.camera_hz, seed=seed_of(config.seed, f"single {name}")).poses(
        SINGLE_POSES)
    scores = {subject.name: [short(value) for value in subject.single(frames)]
              for subject in bench.subjects if hasattr(subject, "single")}
    return {"case": name, "scores": scores}


def _example(bench: Bench, unit: Unit) -> Json:
    assert unit.case is not None
    config = bench.setting.config
    stream = case_stream(bench.robot, unit.case, config.camera_hz, config.seed, 0)
    return {"case": unit.case.name, **example(stream, bench.subjects[0], bench.observer)}


_DO: dict[str, Callable[[Bench, Unit], Json]] = {CALIBRATION: _calibration, HEALTHY: _healthy, CASE: _case,
                                                SINGLE: _single, EXAMPLE: _example}


def do(setting: Setting, unit: Unit, say: Callable[[Any], None]) -> Json:
    """Do a unit and keep it."""
    bench = bench_of(setting)
    content = {"revision": bench.revision, **_DO[unit.kind](bench, unit)}
    return content if setting.store is None else setting.store.write(unit.key, content)
