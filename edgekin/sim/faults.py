"""What events do to joints: how they move, and what their encoders say. For whole streams and for the live arm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from edgekin.robot.events import Event, event_coordinate
from edgekin.robot.spec import Float, RobotSpec

#: Children of a seed, so that no event changes what another draws.
ENCODER_STREAM, PICTURE_STREAM, TIMING_STREAM, POSE_STREAM = 2, 3, 4, 5


def generator(seed: int, stream: int) -> np.random.Generator:
    """Return a generator of its own for one purpose."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


@dataclass
class _Mechanical:
    """A fault of a joint's mechanics; `angle` is where the joint is from the onset on, rad."""

    coordinate: int
    onset_s: float
    half_rad: float = 0.0  # of the play
    angle: float | None = None  # None: before the onset

    def hold(self, motor: Float) -> None:
        """Keep all of (N,) where the first was."""
        if self.angle is None:
            self.angle = float(motor[0])
        motor[:] = self.angle

    def play(self, motor: Float) -> None:
        """Replace (N,) by where the link is: it rests until one side of the gap pushes it (the play operator)."""
        at = float(motor[0]) if self.angle is None else self.angle
        for index, angle in enumerate(motor.tolist()):
            at = min(max(at, angle - self.half_rad), angle + self.half_rad)
            motor[index] = at
        self.angle = at


class JointFaults:
    """Joint angles as events leave them; every call goes on in time from the one before.

    Args:
        spec: the robot.
        events: those that act on joints are followed, others ignored.
        seed: of the encoders' noise.
        sigma_rad: standard deviation of the encoders' noise.
    Raises:
        ConfigError: an event names no joint of this robot.
    """

    def __init__(self, spec: RobotSpec, events: Iterable[Event], seed: int, sigma_rad: float = 0.0) -> None:
        self._rng, self._sigma = generator(seed, ENCODER_STREAM), sigma_rad
        self._held: list[_Mechanical] = []
        self._plays: list[_Mechanical] = []
        self._encoders: list[tuple[int, Event]] = []
        self._stale_s = np.inf
        self._last: Float | None = None
        for event in events:
            if event.kind == "stale-joints":
                self._stale_s = min(self._stale_s, event.onset_s)
            elif event.entry.acts_on in ("motion", "encoder"):
                self._follow(event_coordinate(spec, event), event)

    def _follow(self, coordinate: int, event: Event) -> None:
        if event.kind == "seized":
            self._held.append(_Mechanical(coordinate, event.onset_s))
        elif event.kind == "backlash":
            self._plays.append(_Mechanical(coordinate, event.onset_s, float(np.radians(event.size)) / 2))
        else:
            self._encoders.append((coordinate, event))

    def hold(self, time_s: Float, motor: Float) -> Float:
        """Return motor angles (N, J) rad with seized joints where they seized; time_s (N,) s."""
        out = motor.copy() if self._held else motor
        for fault in self._held:
            first = int(np.searchsorted(time_s, fault.onset_s))
            if first < len(time_s):
                fault.hold(out[first:, fault.coordinate])
        return out

    def held(self, time_s: float) -> list[int]:
        """Return the joints that are seized by then, as indices of the actuated ones."""
        return [held.coordinate for held in self._held if time_s >= held.onset_s]

    def play(self, time_s: Float, motor: Float) -> Float:
        """Return where the links are, (N, J) rad, when motors are at (N, J) rad: behind, where there is backlash."""
        out = motor.copy() if self._plays else motor
        for fault in self._plays:
            first = int(np.searchsorted(time_s, fault.onset_s))
            if first < len(time_s):
                fault.play(out[first:, fault.coordinate])
        return out

    def encode(self, time_s: Float, motor: Float) -> Float:
        """Return what the encoders say, (N, J) rad, when motors are at (N, J) rad at time_s (N,) s."""
        out: Float = motor.copy()
        for coordinate, event in self._encoders:
            first = int(np.searchsorted(time_s, event.onset_s))
            out[first:, coordinate] += _error(event, time_s[first:], motor[first:, coordinate])
        if self._sigma:
            out += self._sigma * self._rng.standard_normal(out.shape)
        stale = int(np.searchsorted(time_s, self._stale_s))
        if stale < len(out):
            out[stale:] = out[stale - 1] if stale else self._last if self._last is not None else out[0]
        self._last = out[-1].copy()
        return out


def _error(event: Event, time_s: Float, motor: Float) -> Float | float:
    """What an encoder adds to the angle (N,), rad."""
    if event.kind == "encoder-bias":
        return float(np.radians(event.size))
    if event.kind == "encoder-drift":
        drifted: Float = np.radians(event.size) / 60.0 * (time_s - event.onset_s)
        return drifted
    gained: Float = motor * (event.size / 100.0)
    return gained
