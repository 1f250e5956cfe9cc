"""An arm to which something happens, and everything that bodies are scored on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgekin.adapting.plan import AdaptPlan
from edgekin.adapting.result import Quality
from edgekin.bundle import Bundle
from edgekin.detection.deviated import deviated
from edgekin.detection.pool import Change
from edgekin.errors import ConfigError
from edgekin.robot import parse_events
from edgekin.robot.events import Event, joined
from edgekin.robot.spec import Float
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector_config import InspectorConfig
from edgekin.sim.episode import NEED_TIME, Episode, Frames, Noise, seed_of
from edgekin.sim.reach import Tip, read_tip, tip, tip_error_m, tip_of
from edgekin.training.metrics import EPSILON

#: Seconds of the healthy arm before the damage, in which nothing may be adapted.
HEALTHY_S = 2.0
#: Seconds that an alarm may take.
ALARM_S = 20.0
#: Poses over the joints' full range that bodies are scored on, and targets that a controller reaches for.
POSES, TARGETS = 200, 100


def psnr_db(engine: Engine, joint_pos: Float, masks: NDArray[np.uint8]) -> float:
    """Return the mean PSNR of an engine's pictures, dB.

    Args:
        engine: of the body, as it now deviates.
        joint_pos: (N, J) rad.
        masks: (N, V, H, row_bytes).
    """
    values = []
    for q, packed in zip(joint_pos, masks, strict=True):
        engine.run(q)
        score = engine.score(packed)
        values.append(-10.0 * np.log10(score.squared_err / score.n_pixels + EPSILON))
    return float(np.mean(values))


def pictures_of(stream: Iterable[Frames]) -> Iterator[tuple[Float, NDArray[np.uint8], Float | None]]:
    """Yield the joint angles, masks and commands of a stream, frame by frame."""
    for piece in stream:
        yield from zip(piece.joint_pos, piece.masks, piece.commanded, strict=True)


class Scene:
    """An arm to which something happens, and everything that bodies are scored on.

    Args:
        bundle: whose robot it is.
        plan: what happens.

    Raises:
        ConfigError: an event does not fit the robot, or shows only in time.
    """

    def __init__(self, bundle: Bundle, plan: AdaptPlan) -> None:
        self.robot, self.plan = bundle.robot, plan
        events = parse_events(plan.damage)
        if any(event.kind in NEED_TIME for event in events):
            raise ConfigError(f"{joined(events)} shows only in time, and no body is fitted to that",
                              "Take another damage: a bend, twist, short, lost, encoder-bias, tool or camera-bump")
        self._now = tuple(Event(e.kind, e.target, e.size, 0.0) for e in events)
        self.seed = seed_of(plan.seed, "adapt")
        later = tuple(Event(e.kind, e.target, e.size, HEALTHY_S) for e in events)
        seconds = HEALTHY_S + ALARM_S + plan.frames / plan.camera_hz + plan.seconds
        self.stream = Episode(self.robot, later, plan.camera_hz, seconds, self.seed)
        # The same seed: what an event leaves to chance is the same, a camera's axis for one.
        fresh, before = (Episode(self.robot, events, plan.camera_hz, 1.0, self.seed, Noise(0.0, 0.0))
                         for events in (self._now, ()))
        self.damaged, self.healthy = fresh.poses(POSES), before.poses(POSES)
        self._at = tip_of(self.robot)
        lost = any(event.kind == "lost" for event in events)
        self._true = None if lost else read_tip(self.robot, self._at, self._now, self.seed, 1.0)

    def repaired(self, frames: int) -> Episode:
        """The healthy arm in another motion, so many frames of it."""
        return Episode(self.robot, (), self.plan.camera_hz, frames / self.plan.camera_hz,
                       seed_of(self.plan.seed, "adapt repaired"))

    def recent(self, count: int) -> Frames:
        """So many frames of the damaged arm, evenly spread over the time that is watched after an alarm."""
        seconds = max(self.plan.seconds, count / self.plan.camera_hz)
        stream = Episode(self.robot, self._now, self.plan.camera_hz, seconds, self.seed)
        frames = next(stream.chunks(stream.n_frames))
        return frames[::len(frames) // count][:count]

    def before(self, engine: Engine) -> Quality:
        """The model on the healthy arm."""
        mine = tip(self.robot, self._at)
        return Quality(psnr_db(engine, self.healthy.joint_pos, self.healthy.masks), self._error_mm(mine, mine))

    def after(self, engine: Engine, config: InspectorConfig, change: Change | None) -> Quality:
        """A body on the damaged arm, with whose kinematics a controller reaches.

        Args:
            engine: of the body, as it deviates.
            config: of its inspector.
            change: what has been taken over; None: nothing.
        """
        body = self.robot if change is None else deviated(self.robot, config.deviations, change.sizes)
        error = None if self._true is None else self._error_mm(tip(body, self._at), self._true)
        return Quality(psnr_db(engine, self.damaged.joint_pos, self.damaged.masks), error)

    def _error_mm(self, believed: Tip, true: Tip) -> float:
        return 1e3 * tip_error_m(believed, true, self.robot.limits, TARGETS, self.seed % 2**32)
