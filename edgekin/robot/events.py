"""What happens to an arm and when, as text: `bend:2:20@15+camera-bump:2@20`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgekin.errors import ConfigError
from edgekin.robot.catalogue import KINDS, LINK, Kind
from edgekin.robot.spec import RobotSpec

_HINT = "edgekin damages lists the kinds and how they are written, each with @SECONDS or without"


@dataclass(frozen=True)
class Event:
    """One damage or nuisance and when it happens."""

    kind: str  # a key of KINDS
    target: str = ""  # name, or the 1-based number of the actuated joint (its child link where the kind asks for one)
    size: float = 0.0  # in the kind's unit; 0 where the kind has no number
    onset_s: float = 0.0  # seconds after the start

    @property
    def entry(self) -> Kind:
        """Its row of the catalogue."""
        return KINDS[self.kind]

    def __str__(self) -> str:
        parts = [self.kind, *([self.target] if self.entry.target else [])]
        parts += [f"{self.size:.12g}"] if self.entry.number else []
        return f"{':'.join(parts)}@{self.onset_s:.12g}"


def unknown_kind(name: str, text: str, others: Iterable[str] = ()) -> ConfigError:
    """Return the error for a kind (or, among `others`, a named case) that does not exist."""
    close = difflib.get_close_matches(name, [*KINDS, *others], n=1)
    return ConfigError(f"damage {text!r} is of the unknown kind {name!r}",
                       f"Did you mean {close[0]!r}?" if close else _HINT)


def parse_event(text: str) -> Event:
    """Read `bend:2:20@15`.

    Raises:
        ConfigError: an unknown kind, a missing or superfluous part, or a number out of its range.
    """
    body, at, onset = text.strip().partition("@")
    name, *rest = body.split(":")
    if name not in KINDS:
        raise unknown_kind(name, text)
    kind = KINDS[name]
    expected = bool(kind.target) + bool(kind.number)
    if len(rest) != expected or not all(rest):
        raise ConfigError(f"damage {text!r} has {len(rest)} part(s) after {name!r}, expected {expected}",
                          f"Write {kind.form} or {kind.form}@SECONDS")
    try:
        size, start = float(rest[-1]) if kind.number else 0.0, float(onset) if at else 0.0
    except ValueError:
        raise ConfigError(f"damage {text!r} has a number that cannot be read", f"Write {kind.form}@SECONDS") from None
    if not np.isfinite([size, start]).all() or start < 0:
        raise ConfigError(f"damage {text!r} has a number out of range", "Give finite numbers, seconds from 0 on")
    if kind.number and (not 0 < abs(size) <= kind.most or (size < 0 and not kind.signed)):
        low = f"{-kind.most:g} to {kind.most:g} and not 0" if kind.signed else f"above 0 and up to {kind.most:g}"
        raise ConfigError(f"damage {text!r} has {kind.number} {size:g}, expected {low}", "Correct it")
    return Event(name, rest[0] if kind.target else "", size, start)


def parse_events(text: str) -> tuple[Event, ...]:
    """Read events joined by "+", in order of their onset; an empty text holds none.

    Raises:
        ConfigError: as parse_event.
    """
    events = [parse_event(part) for part in text.split("+")] if text.strip() else []
    return tuple(sorted(events, key=lambda event: event.onset_s))


def joined(events: Iterable[Event]) -> str:
    """Return the text that parse_events reads."""
    return "+".join(str(event) for event in events)


def event_joint(spec: RobotSpec, event: Event) -> int:
    """Return the index into spec.joints of the joint that an event names, by number, by name or by its child link.

    Raises:
        ConfigError: no such joint or link, or the kind names none.
    """
    target, actuated = event.target, spec.actuated
    if not event.entry.target:
        raise ConfigError(f"damage {event} names no joint", _HINT)
    if re.fullmatch(r"\d+", target):
        if 1 <= int(target) <= len(actuated):
            return spec.joints.index(actuated[int(target) - 1])
        raise ConfigError(f"damage {event} names number {target}, expected 1 to {len(actuated)} for {spec.name}",
                          f"Numbers count the actuated joints: {', '.join(j.name for j in actuated)}")
    for index, joint in enumerate(spec.joints):
        if target in (joint.name, spec.links[joint.child].name):
            if event.entry.target == LINK or joint.actuated:
                return index
            raise ConfigError(f"damage {event} names {target!r}, which is not an actuated joint",
                              f"Name one of {', '.join(j.name for j in actuated)}")
    names = [j.name for j in actuated] + [spec.links[j.child].name for j in actuated]
    close = difflib.get_close_matches(target, names, n=1)
    known = f"Name one of {', '.join(j.name for j in actuated)}, or a number from 1 to {len(actuated)}"
    raise ConfigError(f"damage {event} names {target!r}, which {spec.name} does not have",
                      f"Did you mean {close[0]!r}?" if close else known)


def event_coordinate(spec: RobotSpec, event: Event) -> int:
    """Return the index among the actuated joints of the joint that an event names; -1 where that is not actuated."""
    joint = spec.joints[event_joint(spec, event)]
    return next((i for i, other in enumerate(spec.actuated) if other is joint), -1)
