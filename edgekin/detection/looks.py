"""What an inspector without memory or thresholds sees in healthy pictures: what it will be fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekin.detection.deviations import Suspects, suspects_of
from edgekin.errors import DataError
from edgekin.robot.spec import RobotSpec
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.inspector_config import LEVELS, TURN, InspectorConfig

Float = NDArray[np.float64]

EDGE_PX = 1.0  # of the soft picture whose slopes are used
LAG_S = 0.1  # standard deviation of what pictures may be late
PATIENCE_S = 1.0
#: A deviation's spread at first, and at least: rad, share.
FIRST = {TURN: np.radians(0.05)}
FIRST_OTHER = 0.001
#: Pictures of one pose differ by at least this share of what poses differ by.
FRAME_SHARE = 0.5
#: Fewer frames say too little about 32 regions of poses.
LEAST_FRAMES = 2000
#: Of so many pictures at least, where there are so many, and evenly spread, the information is kept.
KEPT = 10_000


class HealthyFrames(Protocol):
    """N frames of healthy motion in a row; see edgekin.sim.episode.Frames."""

    @property
    def first(self) -> int:
        """Number of the first frame in its stream or file."""

    @property
    def joint_pos(self) -> Float:
        """(N, J) rad, measured."""

    @property
    def commanded(self) -> Float | None:
        """(N, J) rad, where known."""

    @property
    def masks(self) -> NDArray[np.uint8]:
        """(N, V, H, row_bytes), numpy.packbits along x."""


#: Frames that follow each other in time, in pieces.
Stretch = Iterable[HealthyFrames]
#: Called with what was done, after each stretch.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Looks:
    """What was seen in N healthy pictures, of which M are kept whole."""

    information: NDArray[np.float32]  # (M, n, n)
    score: Float  # (M, n)
    kept: NDArray[np.intp]  # (M,) which pictures these are
    fitted: Float  # (N,) squared error, pixels
    joint_pos: Float  # (N, J) rad
    tracking: Float  # (T, J) measured - commanded, rad; T = 0 without commands
    stretch: NDArray[np.intp]  # (N,) the stretch of each
    places: tuple[str, ...]  # of each stretch: "frames 0 to 1799"


class _Kept:
    """Evenly spread pictures: ever fewer of the earlier ones as more come."""

    def __init__(self) -> None:
        self._every = 1
        self.index: list[int] = []
        self.information: list[NDArray[np.float32]] = []
        self.score: list[Float] = []

    def offer(self, index: int, inspector: Inspector) -> None:
        if index % self._every:
            return
        information, score, _ = inspector.look()
        self.index.append(index)
        self.information.append(information.astype(np.float32))
        self.score.append(score)
        if len(self.index) == 2 * KEPT:
            self._every *= 2
            for column in (self.index, self.information, self.score):
                del column[1::2]


def first_config(robot: RobotSpec, camera_hz: float) -> InspectorConfig:
    """Return the settings of an inspector that has seen nothing: it raises no alarm.

    Args:
        robot: whose body it is.
        camera_hz: fresh pictures a second.
    """
    suspects: Suspects = suspects_of(robot)
    n, joints, one = len(suspects.deviations), len(robot.actuated), np.ones(1, np.float32)
    start = np.array([FIRST.get(d.kind, FIRST_OTHER) for d in suspects.deviations])
    return InspectorConfig(
        suspects.deviations, suspects.hypotheses, tuple(j.name for j in robot.actuated),
        tuple(link.name for link in robot.links), np.array(suspects.own_axis, np.int32),
        np.full(len(robot.links), EDGE_PX), suspects.prior, np.zeros(n), start, FRAME_SHARE * start,
        np.zeros((1, joints), np.float32), 10 * one, 1e6 * one, one, np.zeros(LEVELS), np.full(joints, 1.0),
        threshold=1e6, unexplained_sum=1e6, camera_hz=camera_hz, lag_prior=LAG_S * camera_hz,
        patience_frames=max(1, round(PATIENCE_S * camera_hz)))


def frames_of(pieces: Stretch) -> Iterator[tuple[int, Float, NDArray[np.uint8], Float | None]]:
    """Yield number, joint angles (J,) rad, masks (V, H, row_bytes) and command (J,) rad or None, frame by frame."""
    for piece in pieces:
        for i, (q, masks) in enumerate(zip(piece.joint_pos, piece.masks, strict=True)):
            yield piece.first + i, q, masks, None if piece.commanded is None else piece.commanded[i]


def place(first: int, last: int) -> str:
    """Return how a stretch is told."""
    return f"frames {first} to {last}"


def look_at(engine: Engine, config: InspectorConfig, stretches: Sequence[Stretch],
            progress: Progress = lambda what: None) -> Looks:
    """Look at every picture of healthy stretches.

    Args:
        engine: of the body model.
        config: as `first_config` gives it.
        stretches: of healthy motion.
        progress: called after each with "look".

    Raises:
        DataError: too few frames.
    """
    kept = _Kept()
    fitted: list[float] = []
    joints, tracking, stretch, places = [], [], [], []
    with Inspector(engine, config) as inspector:
        for number, pieces in enumerate(stretches):
            first = last = -1
            for last, q, masks, sent in frames_of(pieces):
                first = last if first < 0 else first
                inspector.judge(q, masks, sent)
                kept.offer(len(fitted), inspector)
                fitted.append(inspector.fitted)
                joints.append(q)
                stretch.append(number)
                if sent is not None:
                    tracking.append(q - sent)
            places.append(place(first, last))
            progress("look")
    if len(fitted) < LEAST_FRAMES:
        raise DataError(f"{len(fitted)} healthy pictures are too few to fit an inspector to, expected {LEAST_FRAMES} "
                        "or more", "Record or draw more")
    return Looks(np.array(kept.information), np.array(kept.score), np.array(kept.index), np.array(fitted),
                 np.array(joints), np.array(tracking).reshape(-1, len(config.joints)), np.array(stretch),
                 tuple(places))
