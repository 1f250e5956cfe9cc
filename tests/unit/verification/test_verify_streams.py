"""Streams and who watches them: until the alarm, a little longer where a finding is wanted, and never in vain."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.robot.cases import standard_cases
from edgekin.sim.episode import Episode, seed_of
from edgekin.verification.settings import AFTER_S, ONSET_S, REFINE_FRAMES
from edgekin.verification.streams import alarm_of, case_stream, follow, healthy_stream
from edgekin.verification.subject import Alarm
from tests.small_arm import small_arm


class Counting:
    """Alarms at a frame; its statistic and its finding are what it has seen of the stream."""

    exec_ns = ()

    def __init__(self, name, frame):
        self.name, self.frame, self.chunks = name, frame, []

    def start(self):
        self.chunks = []

    def watch(self, frames):
        self.chunks.append((frames.first, len(frames)))
        assert frames.first == sum(n for _, n in self.chunks[:-1])
        self.statistic = [float(frames.first + i) for i in range(len(frames))]
        self.exec_ns = [1000] * len(frames)
        return [Alarm(self.frame)] if frames.first <= self.frame < frames.first + len(frames) else []


class Refining(Counting):
    def finding(self):
        return Alarm(self.chunks[-1][0] + self.chunks[-1][1] - 1, part="j", size=1.0, unidentifiable=("a", "b"))


@pytest.fixture(scope="module")
def robot():
    return small_arm(24, 24)


@pytest.fixture
def stream(robot):
    case = next(case for case in standard_cases(robot) if case.name == "bend:2:20")
    return Episode(robot, case.starting(5.0).events, 60.0, 15.0, 3)


def test_each_subject_watches_until_its_alarm_and_the_stream_ends_with_the_last(stream):
    drawn = []
    blocks = stream.chunks

    def counted():
        for frames in blocks():
            drawn.append(len(frames))
            yield frames

    stream.chunks = counted
    found = follow(stream, [Refining("fine", 310), Counting("plain", 400)])
    assert sum(drawn) == 512  # of 900: the blocks as far as frame 400
    fine, plain = found["fine"], found["plain"]
    assert (fine.alarm.frame, fine.finding.frame, fine.frames) == (310, 310 + REFINE_FRAMES, 311 + REFINE_FRAMES)
    assert plain.finding is plain.alarm
    assert plain.frames == 401
    assert sum(fine.times.values()) == 311 + REFINE_FRAMES
    assert (plain.before, fine.before) == (299.0, 299.0)
    assert fine.records[0] == (0, 300.0)
    assert fine.records[-1] == (40, 340.0)
    assert alarm_of(fine.to_json()["finding"]) == replace(fine.finding)


def test_a_healthy_stream_has_no_findings_and_the_patient_are_not_waited_for(robot):
    class Idle(Counting):
        waited_for = False

    stream = Episode(robot, (), 60.0, 10.0, 0)
    found = follow(stream, [Refining("fine", 20), Idle("idle", 10_000)], refine=0)
    assert found["fine"].finding is found["fine"].alarm
    assert (found["fine"].frames, found["idle"].frames, found["idle"].alarm) == (21, 256, None)
    whole = follow(stream, [Counting("quiet", 10_000)])["quiet"]
    assert (whole.frames, whole.alarm, whole.finding, whole.records) == (600, None, None, [])
    assert whole.before == 599.0


def test_runs_differ_and_come_back_the_same(robot):
    case = standard_cases(robot)[0]
    runs = [case_stream(robot, case, 60.0, 0, number) for number in range(4)]
    onsets = [run.onset_frame / 60 for run in runs]
    assert len(set(onsets)) == 4
    assert all(ONSET_S[0] <= onset <= ONSET_S[1] + 1 / 60 for onset in onsets)
    assert all(abs(run.n_frames / 60 - onset - AFTER_S) < 0.05 for run, onset in zip(runs, onsets, strict=True))
    again = case_stream(robot, case, 60.0, 0, 1)
    assert (again.events, again.seed) == (runs[1].events, runs[1].seed)
    np.testing.assert_array_equal(next(iter(again)).masks, next(iter(runs[1])).masks)
    seeds = {seed_of(s, purpose, n) for s in (0, 1) for purpose in ("calibration", "healthy") for n in range(50)}
    assert len(seeds) == 200
    assert healthy_stream(robot, 60.0, 0, "healthy", 1).seed != healthy_stream(robot, 60.0, 0, "calibration", 1).seed
