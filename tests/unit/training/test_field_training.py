"""Training a free-form model: black pictures without the published curriculum, none with it, and none with ours."""

from dataclasses import replace

import numpy as np
import pytest

from edgekin.models import PictureShape, build_model
from edgekin.sim.collect import uniform_dataset
from edgekin.training.loop import Split, Trainer
from edgekin.training.settings import TrainConfig
from edgekin.training.train import score_model
from tests.small_arm import small_arm

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")

STEPS = 200


@pytest.fixture(scope="module")
def split():
    spec = small_arm(24, 24)
    return spec, Split(uniform_dataset(spec, 100, 0), uniform_dataset(spec, 8, 999))


def fresh(split, size, seed=0):
    """A model that trains fast: fewer rays, fewer samples on each, no looks at more than one pose."""
    torch.set_num_threads(1)
    model = build_model("ffksm", size, PictureShape.of(split[0]), seed, split[0])
    model.module.recipe = replace(model.module.recipe, rays=8, samples=16)
    model.module.curve_samples = 1
    return model


def trained(split, size, steps=STEPS):
    model = fresh(split, size)
    Trainer(model, split[1], TrainConfig(model="ffksm", size=size, steps=steps)).run()
    return model


def test_as_published_but_without_the_curriculum_every_picture_ends_black(split):
    model = trained(split, "published-no-curriculum")
    assert model.probabilities(split[1].test.joint_pos).max() < 0.01
    assert score_model(model, split[1].test)["iou"] == 0.0


def test_as_published_with_the_curriculum_there_is_an_arm(split):
    model = trained(split, "published")
    assert model.probabilities(split[1].test.joint_pos).max() > 0.7
    assert score_model(model, split[1].test)["iou"] > 0.2


def test_it_beats_black_pictures_by_far_in_seconds(split):
    model = trained(split, "s")
    found = score_model(model, split[1].test)
    black = -10 * np.log10(split[1].test.masks.mean(axis=(1, 2, 3))).mean()
    assert found["psnr_db"] > black + 3.0
    assert found["iou"] > 0.5


def test_resumed_it_is_the_same_to_the_bit(split, tmp_path):
    whole = trained(split, "s", steps=24)

    def stop(progress, _share):
        if progress.step == 16:
            raise InterruptedError

    config = TrainConfig(model="ffksm", size="s", steps=24)
    first = Trainer(fresh(split, "s"), split[1], config, tmp_path)
    with pytest.raises(InterruptedError):
        first.run(stop)
    first.save()
    again = fresh(split, "s", seed=5)
    second = Trainer(again, split[1], config, tmp_path)
    second.resume()
    second.run()
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
