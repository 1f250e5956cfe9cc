"""The decoder: its shapes, its graph against torch, its file."""

import json
import struct

import numpy as np
import pytest

from edgekin.errors import ConfigError
from edgekin.models import PictureShape, build_model, load_model, model_sizes, to_graph
from edgekin.models.reference import count, forward

torch = pytest.importorskip("torch", reason="needs torch: pip install 'edgekin[train]'")


def settled(model, seed=0):
    """The model with running statistics as after a training, so that folding has something to fold."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.module.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    model.module.eval()
    return model


@pytest.mark.parametrize("shape", [PictureShape(4, 1, 100, 100), PictureShape(1, 2, 33, 46), PictureShape(16, 4, 7, 5)])
@pytest.mark.parametrize("size", model_sizes("neurokin"))
def test_the_graph_gives_torchs_logits(size, shape):
    model = settled(build_model("neurokin", size, shape, seed=3))
    q = np.random.default_rng(0).uniform(-1.6, 1.6, (3, shape.n_joints))
    with torch.no_grad():
        expected = model.module(torch.as_tensor(q, dtype=torch.float32)).numpy()
    assert expected.shape == (3, shape.n_views, shape.height, shape.width)
    # 1e-4: float32 sums in another order, and the engines' own sine; far below what a probability shows.
    np.testing.assert_allclose(forward(to_graph(model.module), q), expected, atol=1e-4, rtol=0)


def test_the_published_size_has_the_published_parameters():
    assert build_model("neurokin", "published", PictureShape(4, 1, 100, 100)).parameters == 5_189_857


@pytest.mark.parametrize(("size", "budget"), [("s", 1_200_000), ("m", 3_000_000), ("l", 10_000_000)])
def test_a_compact_size_keeps_to_its_arithmetic(size, budget):
    assert count(build_model("neurokin", size, PictureShape(7, 1, 100, 100)).graph())[1] <= budget


def test_widths_can_be_spelled_out():
    shape = PictureShape(4, 1, 24, 24)
    named, spelled = (build_model("neurokin", size, shape, seed=2) for size in ("s", "96x96-4-8"))
    assert all(torch.equal(a, b) for a, b in zip(named.module.parameters(), spelled.module.parameters(), strict=True))
    plain = build_model("neurokin", "32-2-none", shape)
    assert [type(layer).__name__ for layer in plain.module.layers].count("Conv2d") == 1
    for wrong in ("32-2", "0-2-none", "32x-2-8", "99999-2-8"):
        with pytest.raises(ConfigError, match="no size"):
            build_model("neurokin", wrong, shape)


def test_the_seed_alone_decides_the_first_weights():
    shape = PictureShape(2, 1, 16, 16)
    before = torch.random.get_rng_state()
    a, b, c = (build_model("neurokin", "s", shape, seed).graph().layers[1].weight for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_model_file_gives_the_model_back(tmp_path):
    model = settled(build_model("neurokin", "published", PictureShape(3, 1, 20, 20), seed=5))
    (tmp_path / "m.safetensors").write_bytes(model.to_bytes())
    again = load_model(tmp_path / "m.safetensors")
    q = np.linspace(-1, 1, 6).reshape(2, 3)
    assert again.hyper == model.hyper
    assert np.array_equal(again.probabilities(q), model.probabilities(q))


def test_prediction_leaves_the_training_mode_alone():
    model = build_model("neurokin", "s", PictureShape(2, 1, 8, 8))
    model.module.train()
    assert model.probabilities(np.zeros((0, 2))).shape == (0, 1, 8, 8)
    assert model.probabilities(np.zeros((70, 2))).shape == (70, 1, 8, 8)
    assert model.module.training


def test_a_damaged_model_file_is_refused(tmp_path):
    content = build_model("neurokin", "s", PictureShape(2, 1, 8, 8)).to_bytes()
    path = tmp_path / "m.safetensors"
    for damaged in (content[:-10], content[:20], b"", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"m\.safetensors"):
            load_model(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_model(tmp_path / "none.safetensors")


def test_a_model_file_of_other_hyper_parameters_is_refused(tmp_path):
    content = build_model("neurokin", "s", PictureShape(2, 1, 8, 8)).to_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    changes = (({"n_joints": 3}, "does not fit"), ({"schema": "other/1"}, "other/1"), ({"size": "x"}, "no size"))
    for change, word in changes:
        hyper = json.loads(header["__metadata__"]["hyper"]) | change
        raw = json.dumps({**header, "__metadata__": {"hyper": json.dumps(hyper)}}).encode()
        raw += b" " * (-len(raw) % 8)
        (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + length :])
        with pytest.raises(ConfigError, match=word):
            load_model(tmp_path / "m.safetensors")


def test_unknown_models_and_shapes_are_answered():
    with pytest.raises(ConfigError, match="Did you mean 'neurokin'"):
        build_model("neurokn", "s", PictureShape(2, 1, 8, 8))
    with pytest.raises(ConfigError, match="no size 'xl'"):
        build_model("neurokin", "xl", PictureShape(2, 1, 8, 8))
    with pytest.raises(ConfigError, match="17 joints"):
        build_model("neurokin", "s", PictureShape(17, 1, 8, 8))


def test_what_a_graph_cannot_express_is_refused():
    class Odd(torch.nn.Module):
        shape = PictureShape(2, 1, 8, 8)

        def __init__(self, *layers):
            super().__init__()
            self.layers = torch.nn.Sequential(*layers)

    with pytest.raises(ConfigError, match="Tanh"):
        to_graph(Odd(torch.nn.Linear(2, 4), torch.nn.Tanh()))
    with pytest.raises(ConfigError, match="not sequential"):
        to_graph(torch.nn.Linear(2, 2))
