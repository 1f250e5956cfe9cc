"""Where samples come from: sizes, provenance, and no sample on both sides."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgekin.robot import load_robot, robot_sha256
from edgekin.sim.dataset import save_dataset
from edgekin.training import protocols
from edgekin.training.protocols import prepare
from edgekin.training.settings import TrainConfig

SEED_ARM = Path(os.environ.get("EDGEKIN_SEED_ARM") or
                Path(__file__).resolve().parents[4] / "shared/robots/seed_arm/seed_arm.urdf")


def test_uniform_draws_what_the_protocol_says_and_more_without_it(small_robot):
    _, named = prepare(TrainConfig(robot=small_robot, protocol="uniform"))
    _, plain = prepare(TrainConfig(robot=small_robot))
    assert (len(named.train), len(named.test)) == (1600, 1000)
    assert (len(plain.train), len(plain.test)) == (8000, 1000)
    assert np.array_equal(named.test.joint_pos, plain.test.joint_pos)
    meta = named.train.meta
    assert (meta["protocol"], meta["split"], meta["seed"]) == ("uniform", "train", 0)
    assert meta["robot_sha256"] == robot_sha256(load_robot(small_robot))


def test_lorenz_keeps_a_gap_between_its_blocks(small_robot):
    pytest.importorskip("pybullet", reason="needs pybullet: pip install 'edgekin[train]'")
    _, split = prepare(TrainConfig(robot=small_robot, protocol="lorenz", samples=300))
    assert len(split.train) == 300
    assert len(split.test) >= 60
    near = np.abs(split.train.joint_pos[:, None] - split.test.joint_pos[None]).max(axis=-1).min()
    assert near > 0
    assert split.train.meta["protocol"] == "lorenz"


def test_a_recorded_trajectory_is_split_in_blocks_and_sobol_in_order(small_robot, tmp_path):
    from dataclasses import replace

    _, split = prepare(TrainConfig(robot=small_robot, protocol="uniform", samples=500, test_samples=1))
    save_dataset(split.train, tmp_path / "sobol.npz")
    save_dataset(replace(split.train, meta={**split.train.meta, "excitation": "imported"}), tmp_path / "imported.npz")
    _, sobol = prepare(TrainConfig(robot=small_robot, data=str(tmp_path / "sobol.npz")))
    _, imported = prepare(TrainConfig(robot=small_robot, data=str(tmp_path / "imported.npz"), samples=150))
    assert (len(sobol.train), len(sobol.test)) == (400, 100)
    assert (len(imported.train), len(imported.test)) == (150, 100)


@pytest.mark.skipif(not SEED_ARM.is_file(), reason=f"needs the reference arm at {SEED_ARM}; set EDGEKIN_SEED_ARM")
def test_published_splits_in_time_order(monkeypatch):
    pytest.importorskip("pybullet", reason="needs pybullet: pip install 'edgekin[train]'")
    monkeypatch.setattr(protocols, "PUBLISHED_SAMPLES", 30)
    monkeypatch.setattr(protocols, "PUBLISHED_TRAIN", 20)
    spec, split = prepare(TrainConfig(robot=str(SEED_ARM), protocol="published"))
    assert (len(split.train), len(split.test)) == (20, 10)
    assert spec.convention == "tinyrenderer"
    assert split.train.masks.mean() > 0.4, "the ground is in the published masks"
