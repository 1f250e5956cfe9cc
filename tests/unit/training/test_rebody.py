"""A body fitted anew to a changed arm: better on that arm than the model, and the run stays as it was."""

import numpy as np
import pytest

from edgekin.robot import parse_events
from edgekin.sim.dataset import Dataset
from edgekin.sim.episode import Episode, Noise
from edgekin.training import rebody as module
from edgekin.training.rebody import rebody
from edgekin.training.run import load_run
from edgekin.training.train import score_model

STEPS = 150


@pytest.fixture(scope="module")
def run(body_bundle):
    return load_run(body_bundle.parent / "runs" / "body")


def poses(run, what, n, seed=1):
    frames = Episode(run.robot, parse_events(what), 60.0, 1.0, seed, Noise(0.0, 0.0)).poses(n)
    return Dataset(frames.joint_pos, frames.masks, run.robot.cameras[0].width)


def test_a_new_body_knows_the_changed_arm_and_replay_keeps_more_of_the_healthy_one(run, monkeypatch):
    monkeypatch.setattr(module, "STEPS", STEPS)
    frames = poses(run, "bend:2:30", 60)
    tests = poses(run, "bend:2:30", 30, 2), poses(run, "", 30, 2)
    before = {name: value.clone() for name, value in run.body_model.module.state_dict().items()}
    stale, healthy = (score_model(run.body_model, test)["psnr_db"] for test in tests)
    told = []
    new = rebody(run, frames, 0.0, tests, report=lambda done, total: told.append((done, total)))
    replayed = rebody(run, frames, 0.5, tests)
    assert new.damaged_db > stale + 0.5
    assert new.healthy_db < replayed.healthy_db
    assert replayed.healthy_db < healthy + 1.0
    assert (new.frames, told[-1]) == (60, (STEPS, STEPS))
    for name, value in run.body_model.module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())
