"""A chain found from pictures, where nothing is known of it but its joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model
from edgekin.robot.chain import chain_error, corrected
from edgekin.training.protocols import prepare
from edgekin.training.settings import UNKNOWN_CHAIN, TrainConfig

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


@pytest.fixture
def prepared(small_robot):
    torch.set_num_threads(1)
    return prepare(TrainConfig(robot=small_robot, model="k3dgs", protocol="uniform", samples=300, test_samples=20))


def blank(spec):
    """The robot with every joint in one place, about one axis."""
    return replace(spec, joints=tuple(replace(j, origin=np.eye(4), axis=np.array([0.0, 0.0, 1.0])) if j.actuated else j
                                      for j in spec.joints))


def test_axes_are_found_where_the_robot_file_says_nothing(prepared):
    from edgekin.training.chain_search import find_chain

    spec, split = prepared
    unknown = blank(spec)
    assert chain_error(spec, unknown).worst[0] > 80
    model = build_model("k3dgs", "s", PictureShape.of(unknown), 0, unknown, ("chain",))
    shares = []
    find_chain(model, split.train, 0, shares.append)
    found = chain_error(spec, corrected(unknown, model.module.chain.detach().numpy()))
    # 300 pictures of 32x32 px; benchmarks/learn_geometry.py unknown has those of robots.
    assert found.worst[0] < 5
    assert found.worst[1] < 0.01
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_unknown_chain_is_a_chain_that_is_learned():
    config = TrainConfig(model="k3dgs", learn=f"background, {UNKNOWN_CHAIN}")
    assert config.learned == ("background", "chain")
    assert config.chain_unknown
    assert not TrainConfig(model="k3dgs", learn="chain").chain_unknown


def test_sliding_joints_and_many_cameras_are_refused(prepared):
    from edgekin.training.chain_search import check_searchable

    spec, split = prepared
    check_searchable(spec, split.train)
    sliding = replace(spec, joints=tuple(replace(j, kind="prismatic") if j.actuated else j for j in spec.joints))
    with pytest.raises(ConfigError, match="joints that slide"):
        check_searchable(sliding, split.train)
    with pytest.raises(ConfigError, match="protocol views"):
        check_searchable(spec, replace(split.train, view=np.zeros(len(split.train), dtype=np.int64)))
