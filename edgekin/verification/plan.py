"""What a verification consists of: cases by name, and units of work, each kept when it is finished."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgekin.errors import ConfigError
from edgekin.pieces import fingerprint, folder_name
from edgekin.robot.cases import Case, check_case, check_events, read_cases, standard_cases
from edgekin.robot.catalogue import KINDS
from edgekin.robot.events import joined, parse_events
from edgekin.robot.spec import RobotSpec
from edgekin.sim.episode import NEED_TIME
from edgekin.verification.settings import AFTER_S, CALIBRATION_STREAMS, ONSET_S, SINGLE_POSES, STREAM_S, VerifyConfig

CALIBRATION, HEALTHY, CASE, SINGLE, EXAMPLE = "calibration", "healthy", "case", "single", "example"
#: Runs of a case that are one piece.
RUNS_A_UNIT = 5
#: Letters of a case's name in that of a file.
NAME_LENGTH = 60
#: The length of a run that ends with its alarm, beside one that does not; for the progress alone.
USUAL_SHARE = 0.5
#: Rooms whose code changes what a stream shows or what a detector says of it, and modules here that do not.
ROOMS = ("robot", "sim", "runtime", "detection", "verification")
ONLY_READ_PIECES = ("scoring.py", "versus.py", "result.py", "verify.py")


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Hash the code that makes the pieces: the C library, some rooms of this package, and the baselines' libraries."""
    digest, root = hashlib.sha256(), Path(__file__).resolve().parents[1]
    library = importlib.util.find_spec("edgekin._ek")
    files = [Path(str(library.origin))] if library is not None else []
    files += [path for room in ROOMS for path in sorted((root / room).glob("*.py"))
              if room != "verification" or path.name not in ONLY_READ_PIECES]
    for path in files:
        digest.update(path.read_bytes())
    for package in ("numpy", "river", "pyod", "scikit-learn"):
        try:
            digest.update(importlib.metadata.version(package).encode())
        except importlib.metadata.PackageNotFoundError:
            continue
    return digest.hexdigest()


def is_damage(case: Case) -> bool:
    """Tell whether any event of a case is damage; the others are nuisances."""
    return any(event.entry.damage for event in case.events)


def chosen_cases(text: str, robot: RobotSpec) -> list[Case]:
    """Return the cases that a text asks for.

    Args:
        text: all; quick (one size of every kind, and a bend of every joint); the path of a YAML file; or names
            separated by commas: `bend`, `bend:2`, `bend:2:7+camera-bump:1`.
        robot: that they must fit.

    Raises:
        ConfigError: no such file, kind, joint or link.
    """
    standard = standard_cases(robot)
    if text == "all":
        return standard
    if text == "quick":
        return [case for case in standard if _is_quick(case, len(robot.actuated))]
    if Path(text).suffix in (".yaml", ".yml") or Path(text).is_file():
        named = read_cases(Path(text))
        cases = [case for name, case in named.items() if not any(other.startswith(f"{name}:") for other in named)]
        for case in cases:
            check_case(robot, case, text)
        return cases
    found: dict[str, Case] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        matching = [case for case in standard if case.name == part or case.name.startswith(f"{part}:")]
        found.update((case.name, case) for case in matching or [_case(part, robot)])
    if not found:
        raise ConfigError(f"--cases is {text!r}, which names none", "Use all, quick, a YAML file, or bend:2:5,lost:3")
    return list(found.values())


def _is_quick(case: Case, joints: int) -> bool:
    event = case.events[0]
    sizes = KINDS[event.kind].sizes
    middle = not sizes or event.size == sizes[len(sizes) // 2]
    return middle and (event.kind == "bend" or event.target in ("", str(min(2, joints))))


def _case(text: str, robot: RobotSpec) -> Case:
    events = parse_events(text)
    check_events(robot, events)
    return Case(text, events)


@dataclass(frozen=True)
class Unit:
    """A piece of work that is kept when it is finished."""

    kind: str  # CALIBRATION, HEALTHY, CASE, SINGLE or EXAMPLE
    key: str  # of its file: changes with whatever would change the result
    frames: int  # that it may draw
    expected: float  # frames that it will probably draw
    first: int = 0  # streams, or runs of the case
    last: int = 0
    case: Case | None = None  # None: the healthy arm


@dataclass(frozen=True)
class Plan:
    """Everything that is done."""

    cases: tuple[Case, ...]
    calibration: tuple[Unit, ...]  # what the baselines' thresholds come from
    units: tuple[Unit, ...]  # everything else
    thresholds_key: str

    @property
    def all_units(self) -> tuple[Unit, ...]:
        return self.calibration + self.units

    def frames(self, kind: str) -> int:
        """Return the frames that units of a kind may draw."""
        return sum(unit.frames for unit in self.all_units if unit.kind == kind)

    @property
    def about(self) -> str:
        """Say how much that is."""
        parts = [f"{self.frames(CALIBRATION):,} frames of calibration"] if self.calibration else []
        parts += [f"{self.frames(HEALTHY):,} healthy frames", f"{len(self.cases)} cases of at most "
                  f"{self.frames(CASE):,} frames", f"{self.frames(SINGLE):,} single poses"]
        return "plan: " + ", ".join(parts)


class _Planner:
    def __init__(self, config: VerifyConfig, identity: dict[str, Any]) -> None:
        self.config = config
        self.base = [identity, code_sha256(), config.camera_hz, config.cameras, config.seed]
        self.compared = [*self.base, config.baselines, config.false_alarms_per_hour]

    def unit(self, kind: str, base: list[Any], frames: int, first: int = 0, last: int = 0, case: Case | None = None,
             expected: float = 1.0) -> Unit:
        what = "" if case is None else case.name
        changing = fingerprint(base, kind, first, last, what, "" if case is None else joined(case.events))
        key = "-".join([kind, *([folder_name(what)[:NAME_LENGTH]] if what else []), str(first), changing])
        return Unit(kind, key, frames, expected * frames, first, last, case)

    def streams(self, kind: str, base: list[Any], count: int) -> Iterator[Unit]:
        frames = round(STREAM_S * self.config.camera_hz)
        return (self.unit(kind, base, frames, i, i + 1) for i in range(count))

    def runs(self, case: Case) -> Iterator[Unit]:
        config = self.config
        count = config.runs if is_damage(case) or config.nuisance_runs is None else config.nuisance_runs
        seconds = ONSET_S[1] + AFTER_S + case.events[-1].onset_s - case.events[0].onset_s
        for first in range(0, count, RUNS_A_UNIT):
            last = min(first + RUNS_A_UNIT, count)
            frames = round((last - first) * seconds * config.camera_hz)
            yield self.unit(CASE, self.compared, frames, first, last, case, USUAL_SHARE)

    def plan(self, cases: list[Case]) -> Plan:
        calibration = tuple(self.streams(CALIBRATION, self.base, CALIBRATION_STREAMS)) if self.config.baselines else ()
        single = [None, *(case for case in cases if all(event.kind not in NEED_TIME for event in case.events))]
        units = [*self.streams(HEALTHY, self.compared, self.config.streams), *(u for c in cases for u in self.runs(c)),
                 *(self.unit(SINGLE, self.base, SINGLE_POSES, case=case) for case in single)]
        units += [self.unit(EXAMPLE, self.base, round((ONSET_S[1] + AFTER_S) * self.config.camera_hz),
                            case=example_of(cases), expected=USUAL_SHARE)]
        return Plan(tuple(cases), calibration, tuple(units), f"thresholds-{fingerprint(self.compared)}")


def example_of(cases: list[Case]) -> Case:
    """Return the case whose beginning is shown: the bend nearest to 5 degrees, of a joint in the middle, if any."""
    damages = [case for case in cases if is_damage(case)] or cases
    bends = [case for case in damages if case.events[0].kind == "bend"]
    targets = sorted({case.events[0].target for case in bends})
    return min(bends, default=damages[0], key=lambda case: (
        abs(targets.index(case.events[0].target) - len(targets) // 2), abs(case.events[0].size - 5.0)))


def make_plan(config: VerifyConfig, robot: RobotSpec, identity: dict[str, Any]) -> Plan:
    """Return the work of a verification.

    Args:
        config: validated.
        robot: the bundle's.
        identity: of robot and bundle; JSON-ready.

    Raises:
        ConfigError: it asks for cases that do not exist, or that do not fit the robot.
    """
    return _Planner(config, identity).plan(chosen_cases(config.cases, robot))
