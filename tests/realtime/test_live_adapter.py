"""An adapter beside a running loop, on the arm whose model is exact: the loop takes over what was fitted beside it."""

import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from edgekin.detection.adaptation import ADAPTED, FITTING, TRYING, WATCHING
from edgekin.detection.live import LiveAdapter, rate_of
from edgekin.errors import RuntimeFault
from edgekin.runtime.changed import ChangedBody
from edgekin.runtime.detector import DetectorConfig, NativeDetector
from edgekin.runtime.engine import Engine
from edgekin.runtime.inspector import Inspector
from edgekin.runtime.loop import Loop, LoopConfig
from edgekin.runtime.ring import RingReader, RingWriter
from tests.exact_arm import HEIGHT, WIDTH, taught
from tests.realtime.ticking import Ticking

PATIENCE_S, PERIOD_S = 60.0, 0.008
BENT = 4  # the second joint's own axis
SETTINGS = LoopConfig(hz=1 / PERIOD_S, duration_s=0.0, fifo_priority=0, warmup_ticks=0, lock_memory=False)


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def config(world):
    return taught(world)


class Arm(Ticking):
    """Publishes the motion of a world that bends when told."""

    def __init__(self, world, writer):
        super().__init__(PERIOD_S)
        world.restart(3)
        self.world, self.writer, self.bend_rad = world, writer, 0.0

    def tick(self, _):
        self.world.deviate({BENT: self.bend_rad})
        frames = self.world.show(1)
        self.writer.publish(frames.joint_pos[0], frames.masks[0], commanded=frames.commanded[0])


@pytest.fixture
def together(world, config, tmp_path):
    """The world's arm, a loop that watches it, and an inspector for an adapter."""
    with ExitStack() as stack:
        engine, mine, beside = (stack.enter_context(Engine(world.blob)) for _ in range(3))
        inspector, other = (stack.enter_context(Inspector(body, config)) for body in (mine, beside))
        path = tmp_path / "arm.ring"
        writer = stack.enter_context(RingWriter(path, len(world.robot.actuated), (2, HEIGHT, WIDTH)))
        arm = stack.enter_context(Arm(world, writer))
        reader = stack.enter_context(RingReader(path))
        # The residual of the picture raises no alarm: h is beyond reach.
        quiet = DetectorConfig.from_json({
            "centroids": [[0.0] * 4], "mean": [0.1], "std": [10.0], "k": 1.0, "h": 1e300, "z_clip": 6.0,
            "joint_min_rad": [-9.0] * 4, "joint_max_rad": [9.0] * 4, "bad_frames_to_unknown": 3,
            "stale_ns": 5_000_000_000, "frozen_frames": 0, "frozen_motion_rad": 0.1})
        loop = stack.enter_context(Loop(engine, reader, NativeDetector(quiet), SETTINGS, inspector))
        yield arm, loop, other, path


def test_the_loop_takes_over_what_was_fitted_beside_it(together):
    arm, loop, other, path = together
    loop.start()
    with LiveAdapter(path, other, loop.accept) as live:
        until(lambda: loop.verdict().name == "healthy")
        arm.bend_rad = np.radians(8.0)
        until(lambda: loop.verdict().name == "damaged")
        until(lambda: live.state == ADAPTED)
        until(lambda: loop.verdict().name == "healthy")
    loop.stop()
    assert loop.join(PATIENCE_S)
    told, report = live.report(), loop.report()
    assert [step.result.state for step in told.steps[:4]] == [WATCHING, FITTING, TRYING, ADAPTED]
    assert told.last.change.sizes[BENT] == pytest.approx(np.radians(8.0), rel=0.15)
    assert told.last.tried < 0.5 * told.last.misfit
    assert told.pictures > 58
    assert report.bodies >= 1
    assert report.body_ns > told.steps[1].at_ns


def test_a_loop_takes_a_body_or_the_model_and_refuses_what_it_cannot_hold(together):
    arm, loop, other, _ = together
    bent = ChangedBody(np.zeros(other.n_deviations), np.zeros(4))
    bent.sizes[BENT] = np.radians(8.0)
    arm.bend_rad = np.radians(8.0)
    loop.start()
    until(lambda: loop.verdict().name == "damaged")
    until(lambda: loop.accept(bent))
    until(lambda: loop.verdict().name == "healthy")
    until(lambda: loop.accept(None))
    until(lambda: loop.verdict().name == "damaged")
    with pytest.raises(RuntimeFault, match="1 sizes of deviations, expected"):
        loop.accept(replace(bent, sizes=bent.sizes[:1]))
    loop.stop()
    assert loop.join(PATIENCE_S)
    assert loop.report().bodies == 2
    assert loop.accept(bent)
    assert not loop.accept(bent)  # nobody takes it any more


def test_an_adapter_that_fails_says_so(together, tmp_path):
    _, loop, other, _ = together
    with LiveAdapter(tmp_path / "absent.ring", other, loop.accept) as live:
        time.sleep(0.1)
    with pytest.raises(RuntimeFault, match="cannot open the ring"):
        live.report()


def test_an_adapter_looks_at_no_more_pictures_than_say_more():
    assert rate_of(30.0) == 30.0
    assert rate_of(1000.0) == 60.0
