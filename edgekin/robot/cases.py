"""Named combinations of events: the standard ones of a robot, and those that users write into a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekin.config import load_yaml
from edgekin.errors import ConfigError, EdgekinError, RobotError
from edgekin.robot.catalogue import KINDS
from edgekin.robot.damage import scenes
from edgekin.robot.events import Event, event_joint, parse_event, parse_events, unknown_kind
from edgekin.robot.options import unknown_key
from edgekin.robot.spec import RobotSpec

_HINT = "Write `damages: {NAME: {events: bend:2:{size}+encoder-drift:2:5@20, sizes: [2, 5], onset_s: 10}}`"
_KEYS = ("events", "sizes", "onset_s", "what")


@dataclass(frozen=True)
class Case:
    """Events that happen together, under a name."""

    name: str
    events: tuple[Event, ...]  # in order of their onset
    what: str = ""  # for people

    @property
    def classes(self) -> tuple[str, ...]:
        """What a verdict may call it: one class for every event, none twice."""
        return tuple(dict.fromkeys(event.entry.expected for event in self.events))

    def starting(self, onset_s: float) -> Case:
        """Return the case with its first event at another time, the others as long after it as before."""
        first = self.events[0].onset_s
        return replace(self, events=tuple(replace(e, onset_s=e.onset_s - first + onset_s) for e in self.events))


def check_events(spec: RobotSpec, events: tuple[Event, ...]) -> None:
    """Raise ConfigError or RobotError where events do not fit a robot."""
    for event in events:
        if event.entry.target:
            event_joint(spec, event)
    scenes(spec, events)


def check_case(spec: RobotSpec, case: Case, where: str) -> None:
    """Raise ConfigError, with where the case stands, where it does not fit a robot."""
    try:
        check_events(spec, case.events)
    except EdgekinError as error:
        raise ConfigError(f"{where}: {case.name}: {error.message}", error.hint) from None


def standard_cases(spec: RobotSpec) -> list[Case]:
    """Return one case for each kind, joint or link, and default size that this robot can have, damages first."""
    cases = []
    for kind in KINDS.values():
        targets = [str(number) for number in range(1, len(spec.actuated) + 1)] if kind.target else [""]
        for event in (Event(kind.name, target, size) for target in targets for size in kind.sizes or (0.0,)):
            try:
                check_events(spec, (event,))
            except RobotError:  # nothing would be left to see
                continue
            cases.append(Case(str(event).partition("@")[0], (event,)))
    return cases


def read_cases(path: Path) -> dict[str, Case]:
    """Read a user's cases: NAME, or NAME:SIZE for each of several sizes (NAME alone is then the first).

    Raises:
        ConfigError: not such a file, an unknown key or kind, or a number out of range.
    """
    content = load_yaml(path)
    for key in content:
        if key != "damages":
            raise unknown_key(key, ("damages",), str(path))
    entries = content.get("damages")
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path} names no damages", _HINT)
    cases: dict[str, Case] = {}
    for name, entry in entries.items():
        where = f"{path}: damage {name!r}"
        if not isinstance(name, str) or not name or set(name) & set(":+@") or name in KINDS:
            raise ConfigError(f"{where} has a name that cannot be used",
                              "Choose another, without : + and @, that is no kind of the catalogue")
        for case in _expanded(name, entry, where):
            cases.setdefault(name, replace(case, name=name))
            cases[case.name] = case
    return cases


def _expanded(name: str, entry: Any, where: str) -> Iterator[Case]:
    """One case for each size."""
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}, expected a mapping", _HINT)
    for key in entry:
        if key not in _KEYS:
            raise unknown_key(str(key), _KEYS, where)
    events, sizes, onset = entry.get("events", ""), entry.get("sizes"), entry.get("onset_s", 0.0)
    parts = events.split("+") if isinstance(events, str) else events
    if not parts or not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts):
        raise ConfigError(f"{where} has the events {events!r}, expected a text or a list of texts", _HINT)
    given = [None] if sizes is None else sizes
    if not isinstance(given, list) or not given or not all(_is_number(size) for size in given if sizes is not None):
        raise ConfigError(f"{where} has the sizes {sizes!r}, expected a list of numbers", _HINT)
    if not _is_number(onset):
        raise ConfigError(f"{where} has the onset_s {onset!r}, expected seconds", _HINT)
    if (sizes is not None) != any("{size}" in part for part in parts):
        raise ConfigError(f"{where} has sizes without {{size}} in its events, or the reverse", _HINT)
    for size in given:
        texts = [part.replace("{size}", f"{size:g}" if size is not None else "") for part in parts]
        try:
            found = parse_events("+".join(t if "@" in t else f"{t.strip()}@{onset:g}" for t in texts))
        except EdgekinError as error:
            raise ConfigError(f"{where}: {error.message}", error.hint) from None
        yield Case(name if size is None else f"{name}:{size:g}", found, str(entry.get("what", "")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def resolve(text: str, cases: Mapping[str, Case]) -> tuple[Event, ...]:
    """Read events joined by "+", where names of cases may stand for events; NAME@SECONDS moves a case there.

    Raises:
        ConfigError: as parse_events, or no such name.
    """
    found: list[Event] = []
    for part in text.split("+") if text.strip() else []:
        name, at, onset = part.strip().partition("@")
        if name.partition(":")[0] in KINDS:
            found.append(parse_event(part))
        elif name not in cases:
            raise unknown_kind(name, part, cases)
        elif at:
            found += cases[name].starting(parse_event(f"frozen-camera@{onset}").onset_s).events
        else:
            found += cases[name].events
    return tuple(sorted(found, key=lambda event: event.onset_s))
