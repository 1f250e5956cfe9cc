"""Streams of a simulated arm, faster than real time, to calibrate and verify a detector on. Numpy and C only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from edgekin.errors import ConfigError
from edgekin.robot.events import Event, event_coordinate, event_joint
from edgekin.robot.spec import Float, RobotSpec
from edgekin.sim.faults import POSE_STREAM, JointFaults, generator
from edgekin.sim.motion import LorenzMotion
from edgekin.sim.pictures import Packed, Pictures, Timeline

#: Frames are made in blocks of this length, whatever chunks are asked for: the chunks then change nothing.
BLOCK = 256
#: Events that a single pose cannot show: they need a past.
NEED_TIME = ("seized", "backlash", "encoder-drift", "latency", "jitter", "frozen-camera", "stale-joints")


def seed_of(seed: int, purpose: str, number: int = 0) -> int:
    """Return the seed of a stream: none shared with another purpose, number or seed."""
    code = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return int(np.random.SeedSequence([seed, code, number]).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class Noise:
    """What is never perfect, with and without events."""

    encoder_deg: float = 0.2  # standard deviation of every measured angle
    boundary_percent: float = 1.0  # of the pixels along outlines, that flip in every frame


@dataclass(frozen=True)
class Truth:
    """What one event is, for whoever scores a verdict."""

    event: Event
    expected: str  # one of catalogue.CLASSES
    onset_frame: int  # the first frame at or after the onset; the stream's length where it comes too late
    joint: str  # "" where the event names none
    coordinate: int  # of the joint among the actuated ones; -1: none
    link: str  # "" where the event names none


@dataclass(frozen=True)
class Frames:
    """A stretch of a stream."""

    first: int  # index of the first frame in the stream
    time_s: Float  # (N,)
    commanded: Float  # (N, J) rad
    joint_pos: Float  # (N, J) rad, what the encoders say
    true_pos: Float  # (N, J) rad, where the links are
    masks: Packed  # (N, V, H, row_bytes), numpy.packbits along x

    def __len__(self) -> int:
        return len(self.time_s)

    def __getitem__(self, part: slice) -> Frames:
        begin = part.indices(len(self))[0]
        return Frames(self.first + begin, self.time_s[part], self.commanded[part], self.joint_pos[part],
                      self.true_pos[part], self.masks[part])


def _joined(parts: list[Frames]) -> Frames:
    if len(parts) == 1:
        return parts[0]
    columns = ([getattr(part, name) for part in parts] for name in
               ("time_s", "commanded", "joint_pos", "true_pos", "masks"))
    return Frames(parts[0].first, *(np.concatenate(column) for column in columns))


class Episode:
    """An arm that moves along its own Lorenz trajectory while events happen; the same arguments give the same frames.

    Joints follow their commands exactly; those of the simulated arm lag by 0.02 degrees on average, 0.06 at most.

    Args:
        robot: the robot, whole.
        events: what happens, and when.
        camera_hz: frames a second.
        seconds: length.
        seed: of the motion, of noise, and of what events leave to chance.
        noise: of encoders and pictures.
    Raises:
        ConfigError: a number is out of range, or an event does not fit the robot.
        RobotError: the cameras have different sizes, or nothing of the robot is left to see.
    """

    def __init__(self, robot: RobotSpec, events: Iterable[Event] = (), camera_hz: float = 60.0, seconds: float = 10.0,
                 seed: int = 0, noise: Noise | None = None) -> None:
        self.robot, self.events = robot, tuple(sorted(events, key=lambda event: event.onset_s))
        self.camera_hz, self.seconds, self.seed, self.noise = camera_hz, seconds, seed, noise or Noise()
        if not (0 < camera_hz <= 1e5 and 0 < seconds <= 1e7 and seed >= 0):
            raise ConfigError(f"an episode of {seconds:g} s at {camera_hz:g} Hz with seed {seed}, expected up to "
                              "1e7 s, up to 1e5 Hz and a seed from 0 on", "Correct it")
        if not (0 <= self.noise.encoder_deg < 90 and 0 <= self.noise.boundary_percent <= 100):
            raise ConfigError(f"noise of {self.noise.encoder_deg:g} deg and {self.noise.boundary_percent:g} percent, "
                              "expected 0 to 90 and 0 to 100", "Correct it")
        self.n_frames = max(1, round(seconds * camera_hz))
        self.truth = tuple(self._truth(event) for event in self.events)

    def _truth(self, event: Event) -> Truth:
        times = np.arange(self.n_frames) / self.camera_hz if event.onset_s else np.zeros(1)
        onset = int(np.searchsorted(times, event.onset_s))
        if not event.entry.target:
            return Truth(event, event.entry.expected, onset, "", -1, "")
        joint = self.robot.joints[event_joint(self.robot, event)]
        return Truth(event, event.entry.expected, onset, joint.name, event_coordinate(self.robot, event),
                     self.robot.links[joint.child].name)

    @property
    def onset_frame(self) -> int:
        """Index of the first frame that an event may show in; n_frames where none happens."""
        return min((truth.onset_frame for truth in self.truth), default=self.n_frames)

    def chunks(self, size: int = BLOCK) -> Iterator[Frames]:
        """Yield the stream from its start, in chunks of `size` frames, the last of the rest.

        Raises:
            ConfigError: no such size.
        """
        if size < 1:
            raise ConfigError(f"chunks of {size} frames, expected 1 at least", "Ask for larger chunks")
        waiting: list[Frames] = []
        for block in self._blocks():
            waiting.append(block)
            while sum(map(len, waiting)) >= size:
                whole = _joined(waiting)
                yield whole[:size]
                waiting = [whole[size:]]
        if sum(map(len, waiting)):
            yield _joined(waiting)

    def __iter__(self) -> Iterator[Frames]:
        return self.chunks()

    def _blocks(self) -> Iterator[Frames]:
        motion = LorenzMotion(self.robot.limits, self.seed)
        faults = self._faults(self.events)
        pictures = self._pictures(self.events)
        timeline = Timeline(pictures.most_lag_s) if pictures.most_lag_s else None
        try:
            for first in range(0, self.n_frames, BLOCK):
                time_s = np.arange(first, min(first + BLOCK, self.n_frames)) / self.camera_hz
                commanded = motion.path(len(time_s), 1.0 / self.camera_hz)
                motor = faults.hold(time_s, commanded)
                true = faults.play(time_s, motor)
                seen_s, seen = pictures.seen_at(time_s), true
                if timeline is not None:
                    timeline.add(time_s, true)
                    seen = timeline.at(seen_s)
                yield Frames(first, time_s, commanded, faults.encode(time_s, motor), true,
                             pictures.draw(time_s, seen_s, seen))
        finally:
            pictures.close()

    def _faults(self, events: tuple[Event, ...]) -> JointFaults:
        return JointFaults(self.robot, events, self.seed, float(np.radians(self.noise.encoder_deg)))

    def _pictures(self, events: tuple[Event, ...]) -> Pictures:
        return Pictures(self.robot, events, self.seed, self.noise.boundary_percent / 100.0)

    def poses(self, n: int) -> Frames:
        """Return n independent poses, uniform in the full range of every joint, with all events past their onset.

        Raises:
            ConfigError: n is no positive number, or an event shows only in time.
        """
        timed = [event for event in self.events if event.kind in NEED_TIME]
        if n < 1 or timed:
            what = f"{n} poses" if n < 1 else f"poses with {timed[0]}, which shows only in time"
            raise ConfigError(f"asked for {what}", "Ask for some, of events that a single picture shows")
        limits, time_s = self.robot.limits, np.arange(n) / self.camera_hz
        q = limits[:, 0] + generator(self.seed, POSE_STREAM).random((n, len(limits))) * (limits[:, 1] - limits[:, 0])
        events = tuple(Event(event.kind, event.target, event.size, 0.0) for event in self.events)
        pictures = self._pictures(events)
        try:
            masks = np.concatenate([pictures.draw(time_s[i:i + BLOCK], time_s[i:i + BLOCK], q[i:i + BLOCK])
                                    for i in range(0, n, BLOCK)])
        finally:
            pictures.close()
        return Frames(0, time_s, q, self._faults(events).encode(time_s, q), q, masks)
